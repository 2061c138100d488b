"""PostgreSQL: how it is connected to, with deadlines that are the client's, and which server it is."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.pool import NullPool

from service.store.json import canonical_json

TIMEOUT_SECONDS: Final = 6  # more than statement_timeout, which the server keeps only while it lives
CANCEL_SECONDS: Final = 0.3
IDLE_CONNECTIONS: Final = 4  # kept open; those beyond are given back at once
# A plan made while a table was small would be kept while it grows.
OPTIONS: Final = (
    "-c timezone=UTC -c lock_timeout=3s -c statement_timeout=5s -c idle_in_transaction_session_timeout=30s"
    " -c plan_cache_mode=force_custom_plan"
)
# The client gives up before the server does; then the server shall not hold on to locks for long. A row that
# somebody else has locked is a conflict, and no outage: so locks are given up first.
# The ingest path finds its rows by an index, always, so that one plan is good for ever.
INGEST_OPTIONS: Final = (
    "-c timezone=UTC -c lock_timeout=500ms -c statement_timeout=2s -c idle_in_transaction_session_timeout=2s"
    " -c plan_cache_mode=force_generic_plan"
    " -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
)
# A peer that is gone without a word is found out by the kernel, not by waiting.
KEEPALIVES: Final = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
SERVER: Final = """
    SELECT system_identifier,
        CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END,
        CAST(pg_postmaster_start_time() AS text)
    FROM pg_control_system()
"""
SEVERAL_HOSTS: Final = re.compile(
    r"(?P<scheme>\w+(\+\w+)?)://((?P<user>[^@/]*)@)?(?P<hosts>[^/?]*,[^/?]*)(?P<rest>/.*)?"
)


@dataclass(frozen=True)
class Server:
    """Which server, on which timeline (empty on a standby), since when it runs."""

    system: int
    timeline: str
    started: str


class TimedConnection(psycopg.Connection[Any]):
    """Gives up on a server that says nothing; psycopg alone would wait for ever."""

    timeout: float | None = TIMEOUT_SECONDS
    deadline: float | None = None  # monotonic

    def wait(self, *args: Any, **options: Any) -> Any:
        timeout = self.timeout if self.deadline is None else max(0.001, self.deadline - time.monotonic())
        try:
            return super().wait(*args, **{"timeout": timeout, **options})
        except psycopg.OperationalError as error:
            if error.sqlstate is None:  # not the server's word, so what it is at nobody knows
                self._leave()
            raise

    def _leave(self) -> None:
        # Else a backend that waits for a synchronous standby stays, with its locks, for as long as it takes.
        with contextlib.suppress(psycopg.Error):
            self.cancel_safe(timeout=CANCEL_SECONDS)
        self.close()


def url_of(text: str) -> URL:
    """As SQLAlchemy wants it; also `postgresql://a:5432,b:5432/db`, as libpq writes several hosts."""
    several = SEVERAL_HOSTS.fullmatch(text)
    if several is None:
        url = make_url(text)
    else:
        user = f"{several['user']}@" if several["user"] else ""
        url = make_url(f"{several['scheme']}://{user}{several['rest'] or ''}")
        query = {
            "target_session_attrs": "read-write",
            **url.query,
            "host": tuple(several["hosts"].split(",")),
        }
        url = url.set(query=query)
    if url.drivername in {"postgres", "postgresql"}:  # hosting platforms say the former
        url = url.set(drivername="postgresql+psycopg")
    return url


def engine(url: URL, connections: int, options: str, timeout_seconds: float) -> Engine:
    kept = min(connections, IDLE_CONNECTIONS)
    made = create_engine(
        url,
        pool_size=kept,
        max_overflow=connections - kept,
        pool_timeout=timeout_seconds,
        pool_pre_ping=options is OPTIONS,  # the ingest path finds out by failing
        connect_args=_arguments(options),
        json_serializer=canonical_json,
    )
    event.listen(made, "do_connect", _connect)
    return made


def fresh(url: URL) -> Engine:
    """Every connection is a new one."""
    made = create_engine(url, poolclass=NullPool, connect_args=_arguments(OPTIONS))
    event.listen(made, "do_connect", _connect)
    return made


def server_of(db: Connection) -> Server:
    system, timeline, started = db.exec_driver_sql(SERVER).one()
    return Server(int(system), str(timeline), str(started))


def _arguments(options: str) -> dict[str, Any]:
    return {"connect_timeout": 2, "options": options, **KEEPALIVES}


def _connect(_dialect: Any, _record: Any, args: Any, options: Any) -> TimedConnection:
    return TimedConnection.connect(*args, **options)
