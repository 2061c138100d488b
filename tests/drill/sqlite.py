"""A ledger in an SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.drill.ledger import (
    CALLBACKS,
    FOREIGN,
    MARK,
    SESSIONS,
    Ledger,
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
NO_SERVER = "SQLite has no server"


class Sqlite(Ledger):
    name = "SQLite"
    workers = 1

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.left_out = dict.fromkeys(("database-stopped", "connections-cut", "commits-late"), NO_SERVER)

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

    def dawdling(self) -> AbstractAsyncContextManager[None]:
        raise NotImplementedError(NO_SERVER)

    async def cut(self) -> None:
        raise NotImplementedError(NO_SERVER)

    def callbacks(self, call_sids: str) -> Iterator[StoredCallback]:
        for session_id, call_sid, event, happened_at, received_at, deliveries in self._rows(
            CALLBACKS, call_sids
        ):
            received = datetime.fromisoformat(received_at)
            yield StoredCallback(session_id, call_sid, event, _time(happened_at), received, deliveries)

    def sessions(self, call_sids: str) -> Iterator[StoredSession]:
        for row in self._rows(SESSIONS, call_sids):
            session_id, call_sid, origin, state, siprec_sid, started_at, ended_at, detail = row
            times = _time(started_at), _time(ended_at)
            yield StoredSession(session_id, call_sid, origin, state, siprec_sid, *times, detail)

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
