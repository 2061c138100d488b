"""What goes wrong with a database, by what its caller can do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class DatabaseError(Exception):
    """The database did not do what it was asked. By itself: it was asked for what it does not know."""


class DatabaseUnavailable(DatabaseError):
    """It cannot be reached, refuses to write, or did not answer in time: whoever has to write waits."""


class DatabaseConflict(DatabaseUnavailable):
    """Somebody else's transaction came in the way, and this one was undone: it may be tried again."""


class DatabaseUnready(DatabaseUnavailable):
    """It is full, only reads, or lacks a table, a column or a grant, whatever is to be written."""


class RecordRefused(DatabaseError):
    """What was to be written is itself at fault, and will be refused the next time too."""


class DatabaseUnusable(Exception):
    """The database answers, and cannot be used as it is; the message says what to do. For start-up."""


# In less than this a database that is well may not be done either.
FAIR_SECONDS: Final = 0.25


class Outage(Enum):
    """How much of a database is lost with one failure."""

    NONE = auto()
    WRITES = auto()
    ALL = auto()


@dataclass(frozen=True)
class Failure:
    error: DatabaseError
    outage: Outage = Outage.NONE


def describe(error: BaseException) -> str:
    """One short line: a driver's message may be long, and hold what was to be written."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
