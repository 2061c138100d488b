"""The database: how to connect to it, and how a transaction begins and ends on each kind."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

log = logging.getLogger(__name__)

BUSY_SECONDS = 5
OLDEST_SAFE_SQLITE = (3, 51, 3)  # earlier ones have a race in WAL reset that can lose committed writes
POSTGRESQL_OPTIONS = (
    "-c timezone=UTC -c lock_timeout=5s -c statement_timeout=15s -c idle_in_transaction_session_timeout=30s"
)

try:
    import pysqlite3 as sqlite_driver
except ImportError:  # no wheel for this platform
    sqlite_driver = sqlite3


class DatabaseTrouble(Exception):
    """The database did not do what it was asked, and will not do it the next time either."""


class DatabaseAway(DatabaseTrouble):
    """The database cannot be reached, or did not answer in time. It may be back in a moment."""


class Database:
    """One engine. `begin` is for writing, `read` for reading; each is one transaction."""

    def __init__(self, url: str, connections: int = 5) -> None:
        self._url = _speaking(make_url(url))
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.engine = self._sqlite(connections) if self.is_sqlite else self._postgresql(connections)
        # SQLite's own waiting is polling; writers of one process queue up here instead.
        self._turn = threading.Lock()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that writes. Raises DatabaseTrouble, most often DatabaseAway."""
        if not self.is_sqlite:
            with _named_trouble(), self.engine.begin() as db:
                yield db
            return
        if not self._turn.acquire(timeout=BUSY_SECONDS):
            raise DatabaseAway("the database is busy")
        try:
            with _named_trouble(), self._immediate.begin() as db:
                yield db
        finally:
            self._turn.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of everything it reads. Raises DatabaseTrouble."""
        with _named_trouble(), self._reading.begin() as db:
            yield db

    def _sqlite(self, connections: int) -> Engine:
        if sqlite_driver.sqlite_version_info < OLDEST_SAFE_SQLITE:
            log.warning(
                "SQLite %s can lose committed writes; install pysqlite3", sqlite_driver.sqlite_version
            )
        # isolation_level=None: the driver's own transactions lose updates between processes.
        engine = create_engine(
            self._url,
            module=sqlite_driver,
            connect_args={"isolation_level": None, "timeout": BUSY_SECONDS, "check_same_thread": False},
            pool_size=connections,
            max_overflow=0,
            pool_timeout=BUSY_SECONDS,
            json_serializer=canonical_json,
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        # A deferred BEGIN that turns to writing fails at once with "database is locked".
        self._immediate = engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        self._reading = engine
        return engine

    def _postgresql(self, connections: int) -> Engine:
        engine = create_engine(
            self._url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=BUSY_SECONDS,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 2, "options": POSTGRESQL_OPTIONS},
            json_serializer=canonical_json,
        )
        self._reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        return engine

    def close(self) -> None:
        self.engine.dispose()


def canonical_json(value: Any) -> str:
    """The same text on every database."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _speaking(url: URL) -> URL:
    if url.drivername in {"postgres", "postgresql"}:  # hosting platforms say the former
        return url.set(drivername="postgresql+psycopg")
    return url


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        _insist(connection, f"PRAGMA {pragma}")


def _insist(connection: Any, statement: str) -> None:
    """The turn to WAL fails at once while another process makes it, whatever the busy timeout."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite_driver.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def _begin_sqlite(db: Connection) -> None:
    db.exec_driver_sql(db.get_execution_options().get("sqlite_begin", "BEGIN"))


@contextmanager
def _named_trouble() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as trouble:
        raise DatabaseAway("no connection is free") from trouble
    except DBAPIError as trouble:
        if not _is_away(trouble):
            raise
        raise DatabaseAway(
            f"{type(trouble.orig).__name__}: {trouble.orig}".splitlines()[0][:200]
        ) from trouble


def _is_away(trouble: DBAPIError) -> bool:
    is_unmade = getattr(trouble.orig, "sqlstate", None) == "42P01"  # undefined_table: not yet migrated
    return (
        isinstance(trouble, OperationalError | InterfaceError) or trouble.connection_invalidated or is_unmade
    )
