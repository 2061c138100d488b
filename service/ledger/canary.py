"""What a canary tries for a callback: whether the database and the spool make things durable, and how fast.

It writes nothing that is kept: a COMMIT without rows, and a file of the spool that is removed at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from service.ledger.backlog import Backlog
from service.spool import SpoolUnusable
from service.store.engine import Database, DatabaseError, make_durable


@dataclass(frozen=True)
class Tried:
    """`seconds` is None where it was not done, and `why` says why; or there is nothing to try."""

    seconds: float | None
    why: str | None = None


@dataclass(frozen=True)
class Durability:
    database: Tried
    spool: Tried


def try_durability(database: Database, backlog: Backlog) -> Durability:
    """In a thread: both may wait for a disk."""
    spool = _timed(backlog.try_spool) if backlog.has_spool else Tried(None)
    return Durability(_timed(lambda: commit(database)), spool)


def commit(database: Database) -> None:
    """Nothing, but durably. Raises DatabaseError."""
    with database.begin() as db:  # without a deadline, on a connection that no callback waits for
        make_durable(db)


def _timed(do: Callable[[], None]) -> Tried:
    began = time.monotonic()
    try:
        do()
    except (DatabaseError, SpoolUnusable) as error:
        return Tried(None, type(error).__name__)  # its words are for the log, not for whoever is outside
    return Tried(time.monotonic() - began)
