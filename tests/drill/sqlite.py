"""A ledger in an SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.drill.ledger import (
    CALLBACKS,
    FOREIGN,
    MARK,
    SESSIONS,
    Ledger,
    Need,
    NotForDrills,
    StoredCallback,
    StoredSession,
    require_for_drills,
)

try:
    import pysqlite3 as driver
except ImportError:  # no wheel for this platform
    driver = sqlite3

LOCK_SECONDS = 30
REFUSE = """
CREATE TRIGGER drill_refuses BEFORE INSERT ON callback
WHEN instr(NEW.body, CAST('{0}' AS BLOB)) OR instr(NEW.query, CAST('{0}' AS BLOB))
BEGIN SELECT RAISE(ABORT, 'the drill refuses it'); END"""


class Sqlite(Ledger):
    name = "SQLite"
    workers = 1
    troubles = (driver.Error,)

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.lacks = dict.fromkeys(Need, "SQLite has no server")

    def claim(self) -> None:
        try:
            with closing(self._connect()) as db:
                found = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
                require_for_drills(found, lambda: db.execute(FOREIGN).fetchone() is not None)
                db.execute(f"CREATE TABLE IF NOT EXISTS {MARK} (is_for_drills INTEGER)")
        except driver.Error as trouble:
            raise NotForDrills(f"{self.path} cannot be used: {trouble}") from trouble

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        async with self.hanging():
            yield

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[None]:
        """Another process, which is this one, writes for as long as that."""
        with closing(self._connect()) as db:
            await asyncio.to_thread(db.execute, "BEGIN EXCLUSIVE")
            try:
                yield
            finally:
                db.execute("ROLLBACK")

    @asynccontextmanager
    async def refusing_event(self, event: str) -> AsyncIterator[None]:
        with closing(self._connect()) as db:
            await asyncio.to_thread(db.execute, REFUSE.format(event))
            try:
                yield
            finally:
                await asyncio.to_thread(db.execute, "DROP TRIGGER drill_refuses")

    def callbacks(self, call_sids: str) -> Iterator[StoredCallback]:
        for row in self._rows(CALLBACKS, call_sids):
            happened_at, received_at, deliveries = row[4:]
            received = datetime.fromisoformat(received_at)
            yield StoredCallback(*(*row[:4], _time(happened_at), received, deliveries))

    def sessions(self, call_sids: str) -> Iterator[StoredSession]:
        for row in self._rows(SESSIONS, call_sids):
            started_at, ended_at, detail = row[5:]
            yield StoredSession(*(*row[:5], _time(started_at), _time(ended_at), detail))

    def close(self) -> None:
        """There is nothing to close."""

    def _connect(self) -> Any:
        return driver.connect(
            str(self.path), timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
        )

    def _rows(self, query: str, call_sids: str) -> Iterator[Any]:
        with closing(self._connect()) as db:
            yield from db.execute(f"{query} ?", (call_sids,))


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
