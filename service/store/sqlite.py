"""A connection to SQLite, its time limits, the turn of its writers, and what its errors mean."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

from service.store.errors import (
    DatabaseConflict,
    DatabaseError,
    DatabaseUnavailable,
    DatabaseUnready,
    Failure,
    Outage,
    RecordRefused,
    describe,
)

try:
    import pysqlite3 as driver
except ImportError:  # no wheel for this platform
    driver = sqlite3

DRIVER: Final[ModuleType] = driver
DriverError: Final[type[Exception]] = driver.Error


log = logging.getLogger(__name__)

BUSY_SECONDS: Final = 2  # for longer, it is an outage
WAIT_SECONDS: Final = 2.2
STATEMENT_SECONDS: Final = 4
SMALL_SECONDS: Final = 0.05
OLDEST_SAFE: Final = (3, 51, 3)  # earlier ones have a race in WAL reset that can lose committed writes
# Four times the default: who commits into a full log has to empty it, and is the slowest of a hundred.
CHECKPOINT_PAGES: Final = 4000
STEPS: Final = 20_000  # of SQLite's machine between two looks at the clock: about a millisecond

BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
GUILTY: Final = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH}
UNREADY: Final = {  # ERROR is that of a missing table or column
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
LOST: Final = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOTADB,
}


class SqliteConnection(driver.Connection):  # type: ignore[misc]
    """Ends a statement that takes too long."""

    epoch = 0
    is_writable = True
    busy_seconds = WAIT_SECONDS
    deadline: float | None = None  # monotonic
    _set_busy_seconds = WAIT_SECONDS

    def prepare(self, deadline: float | None) -> None:
        """For the next transaction, whose statements end by `deadline` (monotonic); a COMMIT may stall."""
        now = time.monotonic()
        self.deadline = now + STATEMENT_SECONDS if deadline is None else deadline
        seconds = self.busy_seconds if deadline is None else min(self.busy_seconds, max(0.0, deadline - now))
        if abs(seconds - self._set_busy_seconds) > SMALL_SECONDS:
            self.execute(f"PRAGMA busy_timeout={round(seconds * 1000)}")
            self._set_busy_seconds = seconds

    def commit(self) -> None:
        # Some errors undo the whole transaction; whoever passes over them would commit nothing.
        if not self.in_transaction:
            raise DRIVER.ProgrammingError("an error before the commit was passed over")
        super().commit()

    def is_quiet(self) -> bool:
        return True

    def is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def lift_limits(self) -> None:
        self.deadline = None


class TurnTimeout(Exception):
    """Another thread of this process wrote for too long."""


class Turn:
    """Writers of one process queue up here, since SQLite's own waiting is polling.

    It remembers since when nobody has had his turn: what is short is a conflict, what is long an outage.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy_since: float | None = None
        self._waited_at = 0.0

    @contextmanager
    def taken(self, seconds: float) -> Iterator[None]:
        """Raises TurnTimeout."""
        began = time.monotonic()
        if not self._lock.acquire(timeout=max(0.0, seconds)):
            self.has_waited(began)
            raise TurnTimeout("another thread is writing")
        try:
            yield
        except Exception as error:
            if _code(getattr(error, "orig", error)) in BUSY:  # SQLAlchemy wraps the driver's
                self.has_waited(began)
            raise
        finally:
            self._lock.release()

    def has_waited(self, since: float) -> None:
        """In vain, for another thread or another process."""
        is_old_news = since - self._waited_at > BUSY_SECONDS
        self._waited_at = time.monotonic()
        self._busy_since = since if is_old_news or self._busy_since is None else self._busy_since

    def has_written(self) -> None:
        self._busy_since = None

    def is_blocked(self) -> bool:
        """Whether nobody has written for so long, although somebody tried, that it is an outage."""
        return self._busy_since is not None and time.monotonic() - self._busy_since >= BUSY_SECONDS


def connect(path: str, busy_seconds: float) -> SqliteConnection:
    """Raises driver.Error."""
    connection: SqliteConnection = driver.connect(
        path,
        timeout=busy_seconds,
        isolation_level=None,  # the driver's own transactions lose updates between processes
        check_same_thread=False,
        factory=SqliteConnection,
    )
    connection.busy_seconds = connection._set_busy_seconds = busy_seconds  # noqa: SLF001
    try:
        pragmas = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
        for pragma in (*pragmas, f"wal_autocheckpoint={CHECKPOINT_PAGES}"):
            _insist(connection, f"PRAGMA {pragma}", busy_seconds)
    except BaseException:
        connection.close()
        raise
    connection.set_progress_handler(connection.is_late, STEPS)
    return connection


def _insist(connection: SqliteConnection, statement: str, seconds: float) -> None:
    """The turn to WAL fails at once while another process makes it, whatever the busy timeout."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection.execute(statement)
            return
        except driver.OperationalError as error:
            if _code(error) not in BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def classify(error: BaseException, turn: Turn, *, writes: bool) -> Failure:
    """What it means to the caller, and to others."""
    code = _code(error)
    if isinstance(error, TurnTimeout) or code in BUSY:
        return _busy(error, turn, writes=writes)
    error_class, outage = _classify(error, code)
    if outage is Outage.WRITES and not writes:
        outage = Outage.NONE
    return Failure(error_class(describe(error)), outage)


def _busy(error: BaseException, turn: Turn, *, writes: bool) -> Failure:
    if writes and turn.is_blocked():
        return Failure(DatabaseUnavailable(describe(error)), Outage.WRITES)
    return Failure(DatabaseConflict(describe(error)))


def _classify(error: BaseException, code: int | None) -> tuple[type[DatabaseError], Outage]:
    is_unbound = code is None and isinstance(error, driver.InterfaceError)  # a value too large, for one
    if code in GUILTY or is_unbound:
        return RecordRefused, Outage.NONE
    if code is None:
        return DatabaseError, Outage.NONE  # the driver does not know what is asked of it
    if code == sqlite3.SQLITE_INTERRUPT:
        return DatabaseUnavailable, Outage.NONE
    if code in UNREADY:
        return DatabaseUnready, Outage.WRITES
    return DatabaseUnavailable, Outage.ALL if code in LOST else Outage.WRITES


def _code(error: BaseException) -> int | None:
    """SQLite's primary result code; the driver's own complaints have none."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def warn_of_old_library() -> None:
    if driver.sqlite_version_info < OLDEST_SAFE:
        log.warning("SQLite %s can lose committed writes; install pysqlite3", driver.sqlite_version)
