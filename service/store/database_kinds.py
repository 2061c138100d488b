"""The two kinds of database behind one face: how to connect, begin and commit, and what errors mean."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Final

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, make_url

from service.store import postgresql, sqlite
from service.store.connector import ConnectTimeout
from service.store.errors import FAIR_SECONDS, DatabaseUnavailable, Failure, Outage, describe
from service.store.json import canonical_json, read_json
from service.store.pool import BoundedPool
from service.store.postgresql import Aborted, PostgresqlConnection, Server
from service.store.servers import Servers
from service.store.sqlite import SqliteConnection, Turn, TurnTimeout

# A plan made while a table was small would be kept while it grows.
ORDINARY_LIMITS: Final = {
    "timezone": "UTC",
    "lock_timeout": "3s",
    "statement_timeout": "4s",
    "idle_in_transaction_session_timeout": "30s",
    "plan_cache_mode": "force_custom_plan",
}
# What writes callbacks finds its rows by an index, always, so that one plan is good for ever.
INGEST_LIMITS: Final = {
    "timezone": "UTC",
    "lock_timeout": "500ms",
    "statement_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
    "transaction_timeout": "10s",  # inside a pipeline the server does not count how long we idle
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
JSON: Final[Mapping[str, Any]] = {"json_serializer": canonical_json, "json_deserializer": read_json}
INGEST_BUSY_SECONDS: Final = 0.7

DriverConnection = PostgresqlConnection | SqliteConnection
Committing = AbstractContextManager[None]  # what stands around a COMMIT
DRIVER_ERRORS: Final = (sqlite.DriverError, psycopg.Error, TurnTimeout, ConnectTimeout)


class Postgresql:
    is_sqlite = False
    writing: Final[Mapping[str, Any]] = {}
    reading: Final[Mapping[str, Any]] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

    def __init__(self, url: str) -> None:
        self._servers = Servers(url)

    def connect(self, *, for_ingest: bool) -> PostgresqlConnection:
        return self._servers.connect(INGEST_LIMITS if for_ingest else ORDINARY_LIMITS)

    def engine(self, pool: BoundedPool) -> Engine:
        return create_engine("postgresql+psycopg://", pool=pool, **JSON)

    def turn(self, _deadline: float | None) -> AbstractContextManager[None]:
        return nullcontext()

    @contextmanager
    def transaction(self, connection: PostgresqlConnection, committing: Committing) -> Iterator[None]:
        """BEGIN goes to the server with what is looked up first, COMMIT with what is written last.

        Two round trips; the driver's own transactions make four of them.
        """
        connection.autocommit = True
        with ExitStack() as pipeline:
            pipeline.enter_context(connection.pipeline())
            connection.send("BEGIN")
            yield
            with committing, connection.confirming():
                commit = connection.send("COMMIT")
                pipeline.close()
                if commit.statusmessage != "COMMIT":
                    raise Aborted("an error before the commit was passed over")

    def has_written(self) -> None: ...

    def classify(self, error: BaseException, *, writes: bool) -> Failure:
        if isinstance(error, psycopg.Error):
            return postgresql.classify(error, writes=writes)
        return _too_slow_to_connect(error)

    def check(self) -> None:
        """Raises DatabaseUnusable."""
        self._servers.check()


class Sqlite:
    is_sqlite = True
    # A deferred BEGIN that turns to writing fails at once with "database is locked".
    writing: Final[Mapping[str, Any]] = {"sqlite_begin": "BEGIN IMMEDIATE"}
    reading: Final[Mapping[str, Any]] = {}

    def __init__(self, url: str) -> None:
        sqlite.warn_of_old_library()
        self._url = make_url(url)
        self._turn = Turn()

    def connect(self, *, for_ingest: bool) -> SqliteConnection:
        assert self._url.database is not None
        return sqlite.connect(self._url.database, INGEST_BUSY_SECONDS if for_ingest else sqlite.WAIT_SECONDS)

    def engine(self, pool: BoundedPool) -> Engine:
        engine = create_engine(self._url, module=sqlite.DRIVER, pool=pool, **JSON)
        event.listen(engine, "begin", _begin)
        return engine

    def turn(self, deadline: float | None) -> AbstractContextManager[None]:
        return self._turn.taken(sqlite.WAIT_SECONDS if deadline is None else deadline - time.monotonic())

    @contextmanager
    def transaction(self, connection: SqliteConnection, committing: Committing) -> Iterator[None]:
        connection.execute("BEGIN IMMEDIATE")
        yield
        with committing:
            connection.execute("COMMIT")

    def has_written(self) -> None:
        self._turn.has_written()

    def classify(self, error: BaseException, *, writes: bool) -> Failure:
        if isinstance(error, ConnectTimeout):
            return _too_slow_to_connect(error)
        return sqlite.classify(error, self._turn, writes=writes)

    def check(self) -> None: ...


Kind = Postgresql | Sqlite


def of(url: str) -> Kind:
    return Sqlite(url) if url.startswith("sqlite") else Postgresql(url)


def current_server(connection: DriverConnection) -> Server | None:
    """That a transaction on `connection` runs on; None on SQLite."""
    return None if isinstance(connection, SqliteConnection) else connection.current_server()


def _too_slow_to_connect(error: BaseException) -> Failure:
    is_outage = isinstance(error, ConnectTimeout) and error.seconds >= FAIR_SECONDS
    return Failure(DatabaseUnavailable(describe(error)), Outage.ALL if is_outage else Outage.NONE)


def require_writable(connection: DriverConnection) -> None:
    if not connection.is_writable:
        raise psycopg.errors.ReadOnlySqlTransaction("no primary was found, only a server that reads")


def _begin(db: Connection) -> None:
    begin = db.get_execution_options().get("sqlite_begin", "BEGIN")
    db.connection.driver_connection.execute(begin)  # type: ignore[union-attr]
