"""Positions of events: 1, 2, 3 … without a hole; none ever appears behind one that somebody has seen.

Sequences are drawn before a commit, so their order is not that of commits. On SQLite, whose writers are
serial, an event is inserted with its position. On PostgreSQL it gets it afterwards, by one process at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from psycopg.errors import QueryCanceled
from sqlalchemy import Connection

from service.store.columns import SQLITE_NOW
from service.store.engine import DatabaseUnavailable, driver, is_postgresql
from service.store.errors import describe

MOST_NUMBERED: Final = 1000  # at once
SQLITE_MOST_NUMBERED: Final = 200  # nobody in the background holds the write lock for long
MOST_COUNTED: Final = 10_000

# Events that an earlier release wrote come first: until they have their positions, new ones go without.
_NONE_WAITS: Final = "NOT EXISTS (SELECT 1 FROM event WHERE position IS NULL)"
_SQLITE_LAST: Final = "coalesce((SELECT max(position) FROM event), 0)"
_SQLITE_NUMBERED_AT: Final = "coalesce((SELECT numbered_at FROM event ORDER BY position DESC LIMIT 1), '')"
_SQLITE_NOW: Final = f"max({SQLITE_NOW}, {_SQLITE_NUMBERED_AT})"  # the clock may have been put back
# What SQLite computes for each event that is inserted: (column, value).
SQLITE_VALUES: Final = (
    ("position", f"(SELECT {_SQLITE_LAST} + 1 WHERE {_NONE_WAITS})"),
    ("numbered_at", f"(SELECT {_SQLITE_NOW} WHERE {_NONE_WAITS})"),
)

_LOOK: Final = """
SELECT count(*), {seconds}
FROM (SELECT written_at FROM event WHERE position IS NULL ORDER BY sequence LIMIT {most}) AS waiting"""
_LOOK_ON_SQLITE: Final = _LOOK.format(
    seconds="(julianday('now') - julianday(min(written_at))) * 86400", most=MOST_COUNTED
)
_LOOK_ON_POSTGRESQL: Final = _LOOK.format(
    seconds="CAST(EXTRACT(EPOCH FROM clock_timestamp() - min(written_at)) AS double precision)",
    most=MOST_COUNTED,
)

# A process that is stopped while it has its turn loses it after this time. What an index scan finds dead, no
# further one looks at; a bitmap scan looks each time at all that was numbered since the last VACUUM.
_PREPARE: Final = """
SELECT set_config('idle_in_transaction_session_timeout', '2s', true),
    set_config('enable_bitmapscan', 'off', true)"""
_TAKE_TURN: Final = "SELECT id FROM numbering FOR NO KEY UPDATE SKIP LOCKED"

# The lowest sequence first, so that the events of a session keep their order: who writes one holds the
# session's lock, and draws its sequence when the one before is committed.
_GIVE: Final = """
UPDATE event SET position = last.position + next.step, numbered_at = last.now
FROM {last}, (
    SELECT sequence, row_number() OVER (ORDER BY sequence) AS step
    FROM (SELECT sequence FROM event WHERE position IS NULL ORDER BY sequence LIMIT {most}) AS waiting
) AS next
WHERE event.sequence = next.sequence"""
_NUMBER_ON_SQLITE: Final = _GIVE.format(
    last=f"(SELECT {_SQLITE_LAST} AS position, {_SQLITE_NOW} AS now) AS last", most=SQLITE_MOST_NUMBERED
)
_LAST: Final = """
WITH last AS MATERIALIZED (
    SELECT coalesce(max(position), 0) AS position, greatest(max(numbered_at), statement_timestamp()) AS now
    FROM (
        SELECT position, numbered_at FROM event WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1
    ) AS latest
)"""
_NUMBER_ON_POSTGRESQL: Final = _LAST + _GIVE.format(last="last", most=MOST_NUMBERED)


@dataclass(frozen=True)
class Unnumbered:
    """Events without a position. Where there are more than MOST_COUNTED, `count` says so many."""

    count: int = 0
    oldest_seconds: float = 0.0  # since it was written


def prepare(db: Connection) -> None:
    """Begin a transaction that numbers.

    By a statement of its own, since a pooled connection sends its limits along with the first one, in a
    pipeline, and after a pipeline (psycopg ends it with Sync and Flush) PostgreSQL does not count how long a
    transaction idles.
    """
    if is_postgresql(db):
        driver(db).execute(_PREPARE)


def unnumbered(db: Connection) -> Unnumbered:
    with _no_outage():
        text = _LOOK_ON_POSTGRESQL if is_postgresql(db) else _LOOK_ON_SQLITE
        count, seconds = driver(db).execute(text).fetchone()
    return Unnumbered(count, max(0.0, seconds or 0.0))


def take_turn(db: Connection) -> bool:
    """Whether nobody else numbers until this transaction ends. Does not wait."""
    return not is_postgresql(db) or driver(db).execute(_TAKE_TURN).fetchone() is not None


def number(db: Connection) -> int:
    """Give the next positions to committed events that have none, MOST_NUMBERED at most; to how many.

    It has to be our turn since an earlier statement: READ COMMITTED, this one sees all that was given before.
    """
    with _no_outage():
        given: Any = driver(db).execute(_NUMBER_ON_POSTGRESQL if is_postgresql(db) else _NUMBER_ON_SQLITE)
    return int(given.rowcount)


@contextmanager
def _no_outage() -> Iterator[None]:
    """Inside, a statement that takes too long says nothing about those of others.

    While somebody holds an old snapshot, PostgreSQL keeps all that had no position since, and looks at it.
    """
    try:
        yield
    except QueryCanceled as error:
        raise DatabaseUnavailable(f"numbering took too long: {describe(error)}") from error
