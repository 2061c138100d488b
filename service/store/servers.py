"""Connects to PostgreSQL: to the primary of one address or several, with a pooler between or not."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import set_json_loads

from service.log_lines import fields
from service.store.errors import DatabaseUnusable
from service.store.json import read_json
from service.store.postgresql import LimitingCursor, PostgresqlConnection, Server

log = logging.getLogger(__name__)

NEWER: Final = {"transaction_timeout": 170_000}  # setting -> the release that brought it

# A peer that is gone is noticed while nobody waits for it: psycopg's own limits are too long.
DEFAULTS: Final[Mapping[str, str]] = {
    "application_name": "siprec-ledger",
    "connect_timeout": "2",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
IDENTITY_SECONDS: Final = 2
IDENTITY: Final = """
SELECT pg_backend_pid(), NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off',
    (SELECT coalesce(bool_and(current_setting(name) = value), true) FROM unnest(%s::text[], %s::text[])
     AS asked(name, value)), pg_postmaster_start_time()"""
# Apart, since not every kind of PostgreSQL has these, or lets everybody call them.
TIMELINE: Final = """
SELECT (SELECT system_identifier::text FROM pg_control_system()),
    CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"""

# Of a server behind a pooler, in the midst of a transaction, which an error would end.
STARTED: Final = """
SELECT pg_postmaster_start_time(),
    bool_and(coalesce(has_function_privilege(to_regprocedure(needed.name), 'EXECUTE'), false))
FROM (VALUES ('pg_control_system()'), ('pg_current_wal_lsn()'), ('pg_walfile_name(pg_lsn)'))
    AS needed(name)"""

# No time limit of the server ends what waits for a standby. Others may have got their process ids meanwhile.
END_WAITING: Final = """
SELECT pg_cancel_backend(pid) FROM pg_stat_activity
WHERE pid = ANY(%s) AND wait_event = 'SyncRep' AND usename = current_user AND datname = current_database()"""


class Servers:
    """Of one database. It remembers which address led to the primary, and the highest timeline."""

    def __init__(self, url: str) -> None:
        """Raises DatabaseUnusable for a URL that cannot be read."""
        given = parameters(url)
        self._addresses = _addresses(given)
        self._options = str(given.pop("options", None) or "")
        self._parameters = {**DEFAULTS, **given}
        self._timelines: dict[str, int] = {}
        self._knows_timelines = True
        self._left: set[int] = set()  # backends that may still wait, by process id
        self._takes_options = True

    def connect(self, limits: Mapping[str, str]) -> PostgresqlConnection:
        """To the primary, or where there is none, to a server that only reads. Raises psycopg.Error.

        `limits` are the settings of the session.
        """
        errors: list[psycopg.Error] = []
        reader: PostgresqlConnection | None = None
        for address in self._addresses:
            try:
                connection = self._connect_to(address, limits)
            except psycopg.Error as error:
                errors.append(error)
                continue
            if connection.is_writable:
                if reader is not None:
                    reader.close()
                self._addresses = sorted(self._addresses, key=lambda other: other != address)
                return connection
            if reader is None:
                reader = connection
            else:
                connection.close()
        if reader is None:
            raise errors[-1]
        return reader

    def check(self) -> None:
        """Raises DatabaseUnusable where a transaction is not safe, and psycopg.Error."""
        connection = self.connect({"lock_timeout": "3s"})
        try:
            if connection.is_pooled:
                _check_pooler(connection)
        finally:
            connection.close()

    def _connect_to(self, address: Mapping[str, str], limits: Mapping[str, str]) -> PostgresqlConnection:
        connection = self._open(address, limits)
        try:
            self._look_at(connection, limits)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self, address: Mapping[str, str], limits: Mapping[str, str]) -> PostgresqlConnection:
        parameters: dict[str, Any] = {**self._parameters, **address, "cursor_factory": LimitingCursor}
        if self._takes_options:
            old = {name: value for name, value in limits.items() if name not in NEWER}
            options = " ".join([self._options, *(f"-c {name}={value}" for name, value in old.items())])
            try:
                return PostgresqlConnection.connect(**parameters, options=options.strip())
            except psycopg.OperationalError as error:
                if "startup parameter" not in str(error):
                    raise
                self._takes_options = False
        return PostgresqlConnection.connect(**parameters)

    def _look_at(self, connection: PostgresqlConnection, limits: Mapping[str, str]) -> None:
        connection.add_notice_handler(connection.notice_warning)
        set_json_loads(read_json, connection)
        connection.autocommit = True
        connection.prepare(time.monotonic() + IDENTITY_SECONDS)
        release = connection.info.server_version
        limits = {name: value for name, value in limits.items() if NEWER.get(name, 0) <= release}
        old = {name: value for name, value in limits.items() if name not in NEWER}
        row = connection.execute(IDENTITY, [list(old), list(old.values())]).fetchone()
        assert row is not None
        pid, connection.is_writable, is_set, started_at = row
        connection.is_pooled = pid != connection.info.backend_pid or not is_set
        if connection.is_pooled:
            connection.limits = limits
            connection.prepare_threshold = None  # the pooler may give its server to another client's
        connection.server = self._server(connection, started_at)
        connection.identify = self._identify
        self._leave_old_primary(connection.server)
        if not connection.is_pooled:  # its process id is the server's
            connection.has_left = self._left.add
            if self._left:
                self._end_left(connection)
            for name in limits.keys() - old.keys():
                connection.execute("SELECT set_config(%s, %s, false)", [name, limits[name]])
        connection.autocommit = False
        connection.prepare(None)

    def _end_left(self, connection: PostgresqlConnection) -> None:
        """Whoever tries again while no cancel comes through leaves no further backend behind."""
        connection.execute(END_WAITING, [list(self._left)])
        self._left.clear()

    def _identify(self, connection: PostgresqlConnection) -> Server:
        row = connection.execute(STARTED).fetchone()
        assert row is not None
        started_at, tells_timeline = row
        return self._server(connection, started_at) if tells_timeline else Server(None, None, started_at)

    def _server(self, connection: PostgresqlConnection, started_at: Any) -> Server:
        system = timeline = None
        if self._knows_timelines:
            try:
                row = connection.execute(TIMELINE).fetchone()
            except (psycopg.ProgrammingError, psycopg.NotSupportedError, psycopg.InternalError) as error:
                log.warning("the server does not tell its timeline", extra=fields(error=error))
                self._knows_timelines = False
            else:
                assert row is not None
                system, timeline = row[0], int(row[1], 16) if row[1] else None
        return Server(system, timeline, started_at)

    def _leave_old_primary(self, server: Server) -> None:
        if server.system is None or server.timeline is None:
            return
        highest = self._timelines.get(server.system, 0)
        if server.timeline < highest:
            raise psycopg.OperationalError(
                f"this was the primary once: its timeline is {server.timeline}, there was {highest}"
            )
        self._timelines[server.system] = server.timeline


def parameters(url: str) -> dict[str, Any]:
    """Of libpq, by name, as the URL gives them. Raises DatabaseUnusable."""
    try:
        return conninfo_to_dict(re.sub(r"^postgres(ql)?(\+psycopg)?://", "postgresql://", url))
    except (psycopg.ProgrammingError, UnicodeEncodeError):
        # The error quotes what it could not read, which may be a part of the password.
        raise DatabaseUnusable(
            "DATABASE_URL cannot be read: a % or a blank in it has to be written as %25 or %20, and after "
            "the ? it may have only parameters that libpq knows"
        ) from None


def _addresses(parameters: dict[str, Any]) -> list[dict[str, str]]:
    """Takes `host`, `hostaddr` and `port` out of `parameters`, for one address at a time."""
    given = {name: parameters.pop(name, None) for name in ("host", "hostaddr", "port")}
    listed = {name: str(value).split(",") for name, value in given.items() if value}
    count = max(map(len, listed.values()), default=1)
    each = [{n: v[at] if len(v) > 1 else v[0] for n, v in listed.items()} for at in range(count)]
    return [{name: value for name, value in one.items() if value} for one in each]


def _check_pooler(connection: PostgresqlConnection) -> None:
    """Limits have to hold for a transaction, which has to stay on one server."""
    try:
        with connection.transaction():
            connection.prepare(None)
            first = connection.execute("SELECT pg_backend_pid()").fetchone()
            then = connection.execute("SELECT pg_backend_pid(), current_setting('lock_timeout')").fetchone()
    except psycopg.OperationalError as error:
        raise _unsafe(str(error)) from error
    if first is None or then is None or then != (first[0], "3s"):
        raise _unsafe(f"SET LOCAL is not kept: {then}")


def _unsafe(reason: str) -> DatabaseUnusable:
    remedy = "set pool_mode = transaction (or session) for this database"
    return DatabaseUnusable(f"the pooler before PostgreSQL does not keep a transaction: {reason}; {remedy}")
