"""Sessions of which nothing is heard: very many that are due at once, again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

from service.store.columns import written_out
from service.store.due import NEVER
from service.store.engine import Database
from service.store.watch_tables import due
from tests.bench import bulk, ledgers
from tests.bench.background import Seen
from tests.bench.post import session_id

DUE = 100_000
FIRST = 50_000_000  # the number of the first, far from those whose callbacks come
CHUNK = 20_000  # in one transaction: the service waits for it, but not so long that it takes it for an outage
COLUMNS = ("session_id", "kind", "since", "next_at")
KIND = "not_started"  # nobody else waits for that
_MAKE_DUE = """
UPDATE due SET next_at = '{now}', tried_at = NULL
WHERE session_id IN (
    SELECT session_id FROM due WHERE kind = '{kind}' AND next_at = '{never}' LIMIT {chunk}
)"""
_REST = """
UPDATE due SET next_at = '{never}'
WHERE session_id IN (
    SELECT session_id FROM due WHERE kind = '{kind}' AND next_at < '{never}' LIMIT {chunk}
)"""
_FORGET = """
DELETE FROM session_watch
WHERE session_id IN (
    SELECT session_id FROM session_watch WHERE overdue_kind = '{kind}' LIMIT {chunk}
)"""
_DECIDED = f"SELECT count(*) FROM session_watch WHERE overdue_kind = '{KIND}'"


def fill(filled: bulk.Filling, count: int) -> None:
    """They were accepted an hour ago, and are not due yet."""
    began, numbers = datetime.now(UTC) - timedelta(hours=1), range(FIRST, FIRST + count)
    ledgers.add_sessions(filled, numbers, began)
    since, never = written_out(began), written_out(NEVER)
    filled.add(due, COLUMNS, [(session_id(number), KIND, since, never) for number in numbers])


def make_due(database: Database) -> None:
    """All of them, whatever was found out before."""
    rest(database)
    _repeat(database, _FORGET)
    _repeat(database, _MAKE_DUE)


def rest(database: Database) -> None:
    """Whatever is due still will not be looked at."""
    _repeat(database, _REST)


def decided(database: Database) -> int:
    with database.read() as db:
        return int(db.scalar(text(_DECIDED)) or 0)


def _repeat(database: Database, statement: str) -> None:
    """In parts: the service has the same database."""
    words = {"now": written_out(datetime.now(UTC)), "never": written_out(NEVER), "kind": KIND, "chunk": CHUNK}
    while True:
        with database.begin() as db:
            if not _count(db, statement.format(**words)):
                return
        time.sleep(0.001)


def _count(db: Connection, statement: str) -> int:
    return db.execute(text(statement)).rowcount


class DueAtOnce:
    """They are due while a slice is run."""

    unit = "decided/s"

    def __init__(self, url: str) -> None:
        self._url = url
        with closing(Database(url)) as database, bulk.filling(database) as filled:
            fill(filled, DUE)

    @contextmanager
    def going_on(self, _port: int, seconds: float) -> Iterator[Seen]:
        seen = Seen()
        with closing(Database(self._url)) as database:
            make_due(database)
            before, began = decided(database), time.monotonic()
            yield seen
            seen.amount = (decided(database) - before) / max(seconds, time.monotonic() - began)
            rest(database)
