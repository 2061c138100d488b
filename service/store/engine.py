"""The database: how to connect to it, and how a transaction begins and ends on each kind."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.store.breaker import Breaker

log = logging.getLogger(__name__)

BUSY_SECONDS = 5
OLDEST_SAFE_SQLITE = (3, 51, 3)  # earlier ones have a race in WAL reset that can lose committed writes
# Four times the default: who commits into a full log has to empty it, and is the slowest of a hundred.
SQLITE_CHECKPOINT_PAGES = 4000
HURRIED_BUSY_SECONDS = 0.7
HURRIED_CONNECTIONS = 4  # who commits, who looks whether the database is back, and who refuses
# A plan made while a table was small would be kept while it grows.
POSTGRESQL_OPTIONS = (
    "-c timezone=UTC -c lock_timeout=3s -c statement_timeout=5s -c idle_in_transaction_session_timeout=30s"
    " -c plan_cache_mode=force_custom_plan"
)
# The client gives up before the server does; then the server shall not hold on to locks for long.
# What is in a hurry finds its rows by an index, always, so that one plan is good for ever.
HURRIED_OPTIONS = (
    "-c timezone=UTC -c lock_timeout=2s -c statement_timeout=2s -c idle_in_transaction_session_timeout=2s"
    " -c plan_cache_mode=force_generic_plan"
    " -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
)
CONFLICTS = {"40001", "40P01"}  # serialization_failure, deadlock_detected
PATIENCE_SECONDS = 6  # more than statement_timeout, which the server keeps only while it lives

try:
    import pysqlite3 as sqlite_driver
except ImportError:  # no wheel for this platform
    sqlite_driver = sqlite3


DRIVER_ERRORS = (sqlite_driver.Error, psycopg.Error)
OPERATIONAL_ERRORS = (sqlite_driver.OperationalError, psycopg.OperationalError)


class DatabaseError(Exception):
    """The database did not do what it was asked, and will not do it the next time either."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, or did not answer in time. It may be back in a moment."""


class RecordRefused(DatabaseError):
    """The database will not take this record as it is."""


class DatabaseConflict(DatabaseUnavailable):
    """Somebody else's transaction came in the way, and this one was undone: it may be tried again."""


@dataclass(frozen=True)
class Server:
    """Which server, on which timeline, since when it runs."""

    system: int
    timeline: int
    started: str


class Database:
    """One database. `begin` is for writing, `read` for reading; each is one transaction.

    Who is in a hurry gets connections of its own, so that it neither waits for one nor for its check.
    """

    def __init__(self, url: str, connections: int = 5) -> None:
        self._url = _speaking(make_url(url))
        self.breaker = Breaker()
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            _warn_of_old_sqlite()
            # A deferred BEGIN that turns to writing fails at once with "database is locked".
            writing = {"sqlite_begin": "BEGIN IMMEDIATE"}
            self.engine = self._sqlite(connections, BUSY_SECONDS)
            hurried = self._sqlite(HURRIED_CONNECTIONS, HURRIED_BUSY_SECONDS)
            self._hurried: Engine = hurried.execution_options(**writing)
            self._writing: Engine = self.engine.execution_options(**writing)
            self._reading: Engine = self.engine
        else:
            self.engine = self._postgresql(connections, POSTGRESQL_OPTIONS, BUSY_SECONDS)
            self._hurried = self._postgresql(HURRIED_CONNECTIONS, HURRIED_OPTIONS, HURRIED_BUSY_SECONDS)
            self._writing = self.engine
            one_state = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            self._reading = self.engine.execution_options(**one_state)
        # SQLite's own waiting is polling; writers of one process queue up here instead.
        self._turn = threading.Lock()

    @contextmanager
    def begin(self, give_up: float | None = None, *, is_probe: bool = False) -> Iterator[Connection]:
        """A transaction that writes; it is over by `give_up` (monotonic), if that is given.

        Raises DatabaseError, most often DatabaseUnavailable: whether it was committed is then not known.
        """
        if not self.breaker.takes_writes and not is_probe:
            raise DatabaseUnavailable("the database takes no writes")
        with self._guarded(), self._taking_turns(give_up), _named_trouble():
            if give_up is None:
                with self._writing.begin() as db:
                    yield db
            else:
                with self._hurried.connect() as db:
                    _hurry(db, give_up)
                    with db.begin():
                        yield db

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except DatabaseConflict:
            raise
        except DatabaseUnavailable as trouble:
            self.breaker.opened(str(trouble))
            raise
        self.breaker.closed()

    def current_server(self) -> Server | None:
        if self.is_sqlite:
            return None
        with _named_trouble(), self.engine.connect() as db:
            return server_of(db)

    def probe(self, give_up: float) -> None:
        """Raises DatabaseError if it takes none by `give_up`; else who hurries has a connection."""
        with self.begin(give_up) as db:
            db.execute(select(1))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of everything it reads. Raises DatabaseError."""
        with _named_trouble(), self._reading.begin() as db:
            yield db

    @contextmanager
    def _taking_turns(self, give_up: float | None) -> Iterator[None]:
        if not self.is_sqlite:
            yield
            return
        patience = BUSY_SECONDS if give_up is None else max(0.0, give_up - time.monotonic())
        if not self._turn.acquire(timeout=patience):
            raise DatabaseUnavailable("the database is busy")
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def unhurried(self) -> Iterator[Connection]:
        """A connection for what may take its time, and others' too: a migration."""
        with _named_trouble(), self.engine.connect() as db:
            if not self.is_sqlite:
                driver(db).patience = None
            try:
                yield db
            finally:
                db.invalidate()  # nobody else shall be so patient

    def _sqlite(self, connections: int, busy_seconds: float) -> Engine:
        # isolation_level=None: the driver's own transactions lose updates between processes.
        engine = create_engine(
            self._url,
            module=sqlite_driver,
            connect_args={"isolation_level": None, "timeout": busy_seconds, "check_same_thread": False},
            pool_size=connections,
            max_overflow=0,
            pool_timeout=busy_seconds,
            json_serializer=canonical_json,
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _postgresql(self, connections: int, options: str, busy_seconds: float) -> Engine:
        engine = create_engine(
            self._url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=busy_seconds,
            pool_pre_ping=options is POSTGRESQL_OPTIONS,  # the hurried ones find out by failing
            connect_args={"connect_timeout": 2, "options": options},
            json_serializer=canonical_json,
        )
        event.listen(engine, "do_connect", _connect_patiently)
        return engine

    def close(self) -> None:
        self.engine.dispose()
        self._hurried.dispose()


class _Patient(psycopg.Connection[Any]):
    """Gives up on a server that says nothing; psycopg alone would wait for ever."""

    patience: float | None = PATIENCE_SECONDS
    give_up: float | None = None  # monotonic

    def wait(self, *args: Any, **options: Any) -> Any:
        patience = self.patience if self.give_up is None else max(0.001, self.give_up - time.monotonic())
        try:
            return super().wait(*args, **{"timeout": patience, **options})
        except psycopg.OperationalError as trouble:
            if trouble.sqlstate is None:  # not the server's word, so what it is at nobody knows
                self.close()
            raise


def _connect_patiently(_dialect: Any, _record: Any, args: Any, options: Any) -> _Patient:
    return _Patient.connect(*args, **options)


def _hurry(db: Connection, give_up: float) -> None:
    """SQLite needs none: its waiting is bounded by the connection's busy timeout."""
    if db.dialect.name == "postgresql":
        driver(db).give_up = give_up


def driver(db: Connection) -> Any:
    """The driver's own connection, inside the same transaction."""
    return db.connection.driver_connection


def canonical_encoder(plain: Callable[[Any], Any] | None = None) -> json.JSONEncoder:
    """Made once, since making it takes longer than using it; `plain` is for what JSON does not know."""
    return json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=plain)


_CANONICAL = canonical_encoder()


def canonical_json(value: Any) -> str:
    """The same text on every database."""
    return _CANONICAL.encode(value)


def _speaking(url: URL) -> URL:
    if url.drivername in {"postgres", "postgresql"}:  # hosting platforms say the former
        return url.set(drivername="postgresql+psycopg")
    return url


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    pragmas = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
    for pragma in (*pragmas, f"wal_autocheckpoint={SQLITE_CHECKPOINT_PAGES}"):
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
    driver(db).execute(db.get_execution_options().get("sqlite_begin", "BEGIN"))


@contextmanager
def _named_trouble() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as trouble:
        raise DatabaseUnavailable("no connection is free") from trouble
    except DBAPIError as trouble:
        raise _named(trouble.orig, is_broken=trouble.connection_invalidated) from trouble
    except DRIVER_ERRORS as trouble:  # of what went past SQLAlchemy
        raise _named(trouble) from trouble
    except SQLAlchemyError as trouble:
        raise DatabaseError(type(trouble).__name__) from trouble


def _named(trouble: BaseException | None, *, is_broken: bool = False) -> DatabaseError:
    reason = f"{type(trouble).__name__}: {trouble}".splitlines()[0][:200]
    sqlstate = getattr(trouble, "sqlstate", None)
    if sqlstate in CONFLICTS:
        return DatabaseConflict(reason)
    is_unmade = sqlstate == "42P01"  # undefined_table: not yet migrated
    is_away = is_broken or is_unmade or isinstance(trouble, OPERATIONAL_ERRORS)
    if is_away:
        return DatabaseUnavailable(reason)
    is_guilty = isinstance(trouble, (sqlite_driver.IntegrityError, psycopg.IntegrityError, psycopg.DataError))
    return RecordRefused(reason) if is_guilty else DatabaseUnavailable(reason)


def server_of(db: Connection) -> Server | None:
    if db.dialect.name == "sqlite":
        return None
    query = (
        "SELECT system_identifier, timeline_id, pg_postmaster_start_time()::text"
        " FROM pg_control_system(), pg_control_checkpoint()"
    )
    return Server(*db.exec_driver_sql(query).one())


def _warn_of_old_sqlite() -> None:
    if sqlite_driver.sqlite_version_info < OLDEST_SAFE_SQLITE:
        log.warning("SQLite %s can lose committed writes; install pysqlite3", sqlite_driver.sqlite_version)
