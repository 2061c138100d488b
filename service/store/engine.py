"""The database: how a transaction begins and ends on each kind, and whether there is one to begin."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine

from service.store import postgresql, sqlite
from service.store.breaker import Breaker
from service.store.errors import (
    DatabaseConflict,
    DatabaseError,
    DatabaseUnavailable,
    RecordRefused,
    named_errors,
)
from service.store.postgresql import Server

__all__ = [
    "Database",
    "DatabaseConflict",
    "DatabaseError",
    "DatabaseUnavailable",
    "RecordRefused",
    "Server",
    "driver",
    "server_of",
]

BUSY_SECONDS: Final = 5
INGEST_BUSY_SECONDS: Final = 0.5
INGEST_CONNECTIONS: Final = 3  # of the writer, the drain, and what was rejected


class Database:
    """One database. `begin` is for writing, `read` for reading; each is one transaction.

    Who has a deadline gets the ingest connections, which wait neither for others nor for a check.
    """

    def __init__(self, url: str, connections: int = 5) -> None:
        self._url = postgresql.url_of(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            sqlite.warn_if_old()
            # A deferred BEGIN that turns to writing fails at once with "database is locked".
            writing = {"sqlite_begin": "BEGIN IMMEDIATE"}
            self.engine = sqlite.engine(self._url, connections, BUSY_SECONDS)
            ingest = sqlite.engine(self._url, INGEST_CONNECTIONS, INGEST_BUSY_SECONDS)
            self._ingest: Engine = ingest.execution_options(**writing)
            self._writing: Engine = self.engine.execution_options(**writing)
            self._reading: Engine = self.engine
        else:
            options, ingest_options = postgresql.OPTIONS, postgresql.INGEST_OPTIONS
            self.engine = postgresql.engine(self._url, connections, options, BUSY_SECONDS)
            self._ingest = postgresql.engine(
                self._url, INGEST_CONNECTIONS, ingest_options, INGEST_BUSY_SECONDS
            )
            self._writing = self.engine
            one_state = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            self._reading = self.engine.execution_options(**one_state)
        self.breaker = Breaker(self._drop_connections)
        # SQLite's own waiting is polling; writers of one process queue up here instead.
        self._turn = threading.Lock()

    @contextmanager
    def begin(self, deadline: float | None = None, *, is_probe: bool = False) -> Iterator[Connection]:
        """A transaction that writes; it is over by `deadline` (monotonic), if that is given.

        Raises DatabaseUnavailable at once while the breaker says that nothing is taken, unless `is_probe`;
        and DatabaseError: most often it is not known then whether it was committed.
        """
        if not (self.breaker.takes_writes or is_probe):
            raise DatabaseUnavailable("it takes no writes", answers=self.breaker.answers)
        with (
            self._guarded(is_probe=is_probe),
            self._taking_turns(deadline),
            named_errors(),
            self._connected(deadline) as db,
            db.begin(),
        ):
            epoch = self.breaker.epoch
            yield db
            if epoch != self.breaker.epoch:  # the connection may lead to a server that was left
                raise DatabaseUnavailable("it became unavailable meanwhile", answers=self.breaker.answers)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of everything it reads. Raises DatabaseError."""
        if not self.breaker.answers:
            raise DatabaseUnavailable("it does not answer")
        try:
            with (
                named_errors(),
                self._leaving(self._reading) as db,
                db.begin(),
                self._limited(db),
            ):
                yield db
        except DatabaseUnavailable as error:
            if not (error.answers or error.is_slow):
                self.breaker.opened(str(error), answers=False)
            raise

    @contextmanager
    def patient(self) -> Iterator[Connection]:
        """A connection for what may take its time, and others' too: a migration."""
        with named_errors(), self.engine.connect() as db:
            if not self.is_sqlite:
                driver(db).timeout = None
            try:
                yield db
            finally:
                db.invalidate()  # nobody else shall be so patient

    def current_server(self) -> Server | None:
        """Which server is the primary now, by a new connection; None on SQLite. Raises DatabaseError."""
        if self.is_sqlite:
            return None
        with named_errors(), postgresql.fresh(self._url).connect() as db:
            return server_of(db)

    def close(self) -> None:
        self.engine.dispose()
        self._ingest.dispose()

    def _drop_connections(self) -> None:
        if not self.is_sqlite:
            self.close()

    @contextmanager
    def _connected(self, deadline: float | None) -> Iterator[Connection]:
        with self._leaving(self._writing if deadline is None else self._ingest) as db:
            if deadline is not None and not self.is_sqlite:
                driver(db).deadline = deadline  # SQLite's waiting is bounded by its busy timeout
            yield db

    @contextmanager
    def _leaving(self, engine: Engine) -> Iterator[Connection]:
        """A connection that nobody uses again if the database was left meanwhile."""
        epoch = self.breaker.epoch
        with engine.connect() as db:
            try:
                yield db
            finally:
                if epoch != self.breaker.epoch:
                    db.invalidate()

    @contextmanager
    def _guarded(self, *, is_probe: bool) -> Iterator[None]:
        try:
            yield
        except DatabaseConflict:
            if self.is_sqlite:
                self.breaker.busy()
            raise
        except DatabaseUnavailable as error:
            if not error.is_slow or is_probe:
                self.breaker.opened(str(error), answers=error.answers)
            raise
        self.breaker.closed(is_probe=is_probe)

    @contextmanager
    def _taking_turns(self, deadline: float | None) -> Iterator[None]:
        if not self.is_sqlite:
            yield
            return
        timeout = BUSY_SECONDS if deadline is None else max(0.0, deadline - time.monotonic())
        if not self._turn.acquire(timeout=timeout):
            raise DatabaseConflict("another thread writes")
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def _limited(self, db: Connection) -> Iterator[None]:
        if not self.is_sqlite:
            yield
            return
        sqlite.limit(db)
        try:
            yield
        finally:
            sqlite.unlimit(db)


def driver(db: Connection) -> Any:
    """The driver's own connection, inside the same transaction."""
    return db.connection.driver_connection


def server_of(db: Connection) -> Server | None:
    """The one that this transaction runs on; None on SQLite."""
    return None if db.dialect.name == "sqlite" else postgresql.server_of(db)
