"""What a database's error means: wait, try again, or never with this record."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

try:
    import pysqlite3 as sqlite_driver
except ImportError:  # no wheel for this platform
    sqlite_driver = sqlite3

__all__ = [
    "DRIVER_ERRORS",
    "DatabaseConflict",
    "DatabaseError",
    "DatabaseUnavailable",
    "RecordRefused",
    "named_errors",
    "sqlite_driver",
]

DRIVER_ERRORS = (sqlite_driver.Error, psycopg.Error)

# By SQLSTATE, as PostgreSQL's manual lists them in its appendix of error codes.
CONFLICTS = {"40001", "40P01", "55P03"}  # serialization_failure, deadlock_detected, lock_not_available
GUILTY_CLASSES = {"22", "23", "54"}  # data, constraint, program limits
QUERY_CANCELED = "57014"
NO_ANSWER_CLASSES = {"08", "53", "57"}  # connection, resources, operator: reads fail as well

# By SQLite's primary result codes, as its manual lists them.
SQLITE_CONFLICTS = {5, 6}  # BUSY, LOCKED
SQLITE_GUILTY = {18, 19, 20, 25}  # TOOBIG, CONSTRAINT, MISMATCH, RANGE
SQLITE_INTERRUPT = 9
SQLITE_ANSWERS = {1, 8, 13}  # ERROR (no such table), READONLY, FULL: reads go on


class DatabaseError(Exception):
    """The database did not do what it was asked."""


class DatabaseUnavailable(DatabaseError):
    """It cannot be reached, takes no writes, or did not answer in time: whoever writes has to wait.

    `answers`: it was reached, so that others may read. `is_slow`: only this one took too long.
    """

    def __init__(self, reason: str, *, answers: bool = False, is_slow: bool = False) -> None:
        super().__init__(reason)
        self.answers = answers
        self.is_slow = is_slow


class DatabaseConflict(DatabaseUnavailable):
    """Somebody else's transaction came in the way, and this one was undone: it may be tried again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, answers=True, is_slow=True)


class RecordRefused(DatabaseError):
    """The database will never take this record as it is."""


@contextmanager
def named_errors() -> Iterator[None]:
    """Raises DatabaseError instead of what SQLAlchemy and the drivers raise."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable("no connection is free", answers=True, is_slow=True) from error
    except DBAPIError as error:
        raise named(error.orig, is_broken=error.connection_invalidated) from error
    except DRIVER_ERRORS as error:  # of what went past SQLAlchemy
        raise named(error) from error
    except SQLAlchemyError as error:
        raise DatabaseError(type(error).__name__) from error


def named(error: BaseException | None, *, is_broken: bool = False) -> DatabaseError:
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    if isinstance(error, psycopg.Error):
        return _of_postgresql(error, reason, is_broken=is_broken)
    return _of_sqlite(error, reason)


def _of_postgresql(error: psycopg.Error, reason: str, *, is_broken: bool) -> DatabaseError:
    sqlstate = error.sqlstate
    if sqlstate is None:  # not the server's word
        is_ours = not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return RecordRefused(reason) if is_ours else DatabaseUnavailable(reason)
    if sqlstate in CONFLICTS:
        return DatabaseConflict(reason)
    if sqlstate[:2] in GUILTY_CLASSES:
        return RecordRefused(reason)
    if sqlstate == QUERY_CANCELED:
        return DatabaseUnavailable(reason, answers=True, is_slow=True)
    answers = not is_broken and sqlstate[:2] not in NO_ANSWER_CLASSES
    return DatabaseUnavailable(reason, answers=answers)


def _of_sqlite(error: Any, reason: str) -> DatabaseError:
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary in SQLITE_CONFLICTS or (primary is None and "locked" in reason):
        return DatabaseConflict(reason)
    refused = (sqlite_driver.IntegrityError, sqlite_driver.DataError)
    unbindable = (sqlite_driver.ProgrammingError, sqlite_driver.InterfaceError)
    if primary in SQLITE_GUILTY or isinstance(error, refused + unbindable):
        return RecordRefused(reason)
    if primary == SQLITE_INTERRUPT or "interrupted" in reason:
        return DatabaseUnavailable(reason, answers=True, is_slow=True)
    answers = primary in SQLITE_ANSWERS or (primary is None and "unable to open" not in reason)
    return DatabaseUnavailable(reason, answers=answers)
