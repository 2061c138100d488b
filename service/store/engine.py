"""The database: how a transaction begins and ends on each kind, and when none may begin."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NoReturn

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.store import database_kinds
from service.store.breaker import Breaker
from service.store.connector import Connector
from service.store.database_kinds import DRIVER_ERRORS, DriverConnection
from service.store.errors import DatabaseConflict as DatabaseConflict
from service.store.errors import DatabaseError as DatabaseError
from service.store.errors import DatabaseUnavailable as DatabaseUnavailable
from service.store.errors import DatabaseUnready as DatabaseUnready
from service.store.errors import DatabaseUnusable as DatabaseUnusable
from service.store.errors import Outage, describe
from service.store.errors import RecordRefused as RecordRefused
from service.store.ingest_connection import IngestConnection as IngestConnection
from service.store.ingest_connection import Keeper
from service.store.pool import BoundedPool, until
from service.store.postgresql import Server as Server

CONNECTIONS: Final = 10
INGEST_CONNECTIONS: Final = 1
# The drain, the heartbeat, what was rejected, the numbering, and of callbacks what the ingest connection
# cannot do.
BACKGROUND_CONNECTIONS: Final = 5
FEWEST_CONNECTIONS: Final = INGEST_CONNECTIONS + BACKGROUND_CONNECTIONS + 1

AnyConnection = Connection | IngestConnection


class Database:
    """One database. `begin` is for writing, `read` for reading; each is one transaction.

    It holds at most `connections`, or FEWEST_CONNECTIONS. What has a deadline gets connections of its own,
    so that it neither waits for one nor keeps others waiting.
    """

    def __init__(self, url: str, connections: int = CONNECTIONS) -> None:
        self._kind = database_kinds.of(url)
        self.is_sqlite = self._kind.is_sqlite
        self.breaker = Breaker()
        ordinary = max(1, connections - INGEST_CONNECTIONS - BACKGROUND_CONNECTIONS)
        self._pools = [
            BoundedPool(self._connector(for_ingest=False), ordinary, self._is_fit),
            BoundedPool(self._connector(for_ingest=True), BACKGROUND_CONNECTIONS, self._is_fit),
        ]
        self.engine, self._background = (self._kind.engine(pool) for pool in self._pools)
        self._keeper = Keeper(self._connector(for_ingest=True), self._is_fit)
        self._reading = self.engine.execution_options(**self._kind.reading)
        self._writing = self.engine.execution_options(**self._kind.writing)
        self._writing_by_deadline = self._background.execution_options(**self._kind.writing)

    @contextmanager
    def begin(self, deadline: float | None = None, *, is_probe: bool = False) -> Iterator[Connection]:
        """A transaction that writes; it is over by `deadline` (monotonic), if that is given.

        Raises DatabaseError, most often DatabaseUnavailable: whether it was committed is then not known.
        While the database takes no writes it does so at once, but for a probe.
        """
        self._check_writes(deadline, is_probe=is_probe)
        engine = self._writing if deadline is None else self._writing_by_deadline
        with self._watching(writes=True), self._kind.turn(deadline), self._lent(engine, deadline) as db:
            connection: DriverConnection = driver(db)
            connection.prepare(deadline)
            with db.begin() as transaction:
                yield db
                if is_probe:
                    make_durable(db)
                resets_backoff = deadline is not None and not is_probe
                with self.breaker.committing(connection.epoch, resets_backoff=resets_backoff):
                    transaction.commit()
            self._kind.has_written()
        if deadline is not None:  # the heartbeat, for one, also where nobody else comes
            self._close_idle()

    @contextmanager
    def nested(self, db: Connection) -> Iterator[None]:
        """A part of a transaction that writes.

        After RecordRefused the transaction may go on without it; whatever else it raises has to end it.
        """
        with self._watching(writes=True):
            savepoint = db.begin_nested()
        try:
            with self._watching(writes=True):
                yield
                savepoint.commit()
        except RecordRefused:
            # After other errors there may be neither connection nor savepoint, and that would hide why.
            with self._watching(writes=True):
                savepoint.rollback()
            raise

    @contextmanager
    def ingest(self, deadline: float, *, is_probe: bool = False) -> Iterator[IngestConnection]:
        """As `begin`, on the connection of what writes callbacks; for one thread at a time."""
        self._check_writes(deadline, is_probe=is_probe)
        with (
            self._watching(writes=True),
            self._kind.turn(deadline),
            self._keeper.lent(deadline) as connection,
        ):
            database_kinds.require_writable(connection)
            connection.prepare(deadline)
            committing = self.breaker.committing(connection.epoch, resets_backoff=not is_probe)
            with self._kind.transaction(connection, committing):  # type: ignore[arg-type]
                yield IngestConnection(connection, is_postgresql=not self.is_sqlite)
            self._kind.has_written()

    @contextmanager
    def read(self, deadline: float | None = None) -> Iterator[Connection]:
        """A transaction that sees one state of everything it reads. Raises DatabaseError.

        Its statements end by `deadline` (monotonic), or after the usual time. While the database does not
        answer, the error comes at once.
        """
        self.breaker.check_reads()
        with self._watching(writes=False), self._reading.connect() as db:
            driver(db).prepare(deadline)
            with db.begin():
                yield db

    @contextmanager
    def untimed(self) -> Iterator[Connection]:
        """A connection for what may take its time, and others' too: a migration."""
        with self._watching(writes=False), self.engine.connect() as db:
            driver(db).lift_limits()
            try:
                yield db
            finally:
                db.invalidate()  # nobody else shall have it

    def current_server(self) -> Server | None:
        """Which server is the primary now, asked on a connection made now; None on SQLite.

        Raises DatabaseUnavailable.
        """
        if self.is_sqlite:
            return None
        with self._watching(writes=False):
            connection = self._connect(for_ingest=False)
            try:
                database_kinds.require_writable(connection)
                return database_kinds.current_server(connection)
            finally:
                connection.close()

    def check(self) -> None:
        """Raises DatabaseUnusable where it cannot be used safely, and DatabaseUnavailable."""
        with self._watching(writes=False):
            self._kind.check()

    def close(self) -> None:
        self._drop_idle()
        self._keeper.close()

    def _check_writes(self, deadline: float | None, *, is_probe: bool) -> None:
        if not is_probe:
            self.breaker.check_writes()
        if deadline is not None and deadline <= time.monotonic():
            raise DatabaseUnavailable("no time is left to ask the database")

    def _connector(self, *, for_ingest: bool) -> Connector:
        return Connector(partial(self._connect, for_ingest=for_ingest), self._is_fit)

    def _connect(self, *, for_ingest: bool) -> DriverConnection:
        epoch = self.breaker.epoch  # before, or it could be older than it says
        connection = self._kind.connect(for_ingest=for_ingest)
        connection.epoch = epoch
        return connection

    def _is_fit(self, connection: DriverConnection) -> bool:
        if connection.epoch != self.breaker.epoch or not connection.is_quiet():
            return False
        return connection.is_writable or not self.breaker.takes_writes  # a standby's answers are old

    @contextmanager
    def _lent(self, engine: Engine, deadline: float | None) -> Iterator[Connection]:
        """A connection to a server that takes writes."""
        with until(deadline):
            db = engine.connect()
        with db:
            if not driver(db).is_writable:  # it was made while there was no primary
                db.invalidate()
            with until(deadline):  # an invalid one is made anew
                database_kinds.require_writable(driver(db))
            yield db

    @contextmanager
    def _watching(self, *, writes: bool) -> Iterator[None]:
        """Errors of a driver become ours, and the breaker hears of them."""
        try:
            yield
        except PoolTimeout as error:  # too much is asked of us, not of the database
            raise DatabaseUnavailable("all connections are in use") from error
        except DBAPIError as error:
            self._fail(error.orig or error, error, writes=writes)
        except StatementError as error:
            raise RecordRefused(describe(error.orig or error)) from error
        except DRIVER_ERRORS as error:
            self._fail(error, error, writes=writes)

    def _fail(self, cause: BaseException, error: Exception, *, writes: bool) -> NoReturn:
        failure = self._kind.classify(cause, writes=writes)
        self.breaker.failed(failure.outage, str(failure.error))
        if failure.outage is not Outage.NONE:
            self._drop_idle()
        raise failure.error from error

    def _close_idle(self) -> None:
        for pool in self._pools:
            pool.close_idle()

    def _drop_idle(self) -> None:
        for pool in self._pools:
            pool.dispose()


def driver(db: AnyConnection) -> Any:
    """The driver's own connection, inside the same transaction."""
    return db.driver_connection if isinstance(db, IngestConnection) else db.connection.driver_connection


def is_postgresql(db: AnyConnection) -> bool:
    return db.is_postgresql if isinstance(db, IngestConnection) else db.dialect.name == "postgresql"


def server_of(db: AnyConnection) -> Server | None:
    """The server that this transaction runs on; None on SQLite."""
    return database_kinds.current_server(driver(db))


def make_durable(db: AnyConnection) -> None:
    """Once this transaction is committed, so is for certain what it has seen of others.

    With a synchronous standby, what others committed may be seen though the standby does not have it yet;
    and a transaction that has written nothing does not wait for the standby. With a full disk, SQLite commits
    what has written nothing.
    """
    if is_postgresql(db):
        driver(db).execute("SELECT pg_logical_emit_message(true, 'siprec-ledger', '')")
    else:
        driver(db).execute("PRAGMA user_version = 0")
