"""What PostgreSQL says of itself: its release, how durable it is set to be, and how many it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from service.store import sqlite
from service.store.engine import driver

OLDEST_SAFE_SQLITE: Final = ".".join(map(str, sqlite.OLDEST_SAFE))

DURABILITY: Final = """
SELECT current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on',
    current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
    count(pid), count(pid) FILTER (WHERE sync_state IN ('sync', 'quorum')),
    count(pid) FILTER (WHERE sync_state IS NULL)
FROM (SELECT 1) AS one LEFT JOIN pg_stat_replication ON true"""
# A limit of -1 is none. Of others' connections a role may be shown no more than whose they are.
CAPACITY: Final = """
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0),
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database()),
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
    (SELECT count(*) FROM pg_stat_activity
     WHERE coalesce(backend_type, 'client backend') = 'client backend' AND usesysid IS NOT NULL
        AND application_name <> 'siprec-ledger')"""


@dataclass(frozen=True)
class Durability:
    """`synchronous_commit` is the server's word; `standbys` stream now, of them `synchronous` are waited for.

    `unknown`: of so many the role may not see how they follow.
    """

    syncs: bool
    writes_full_pages: bool
    synchronous_commit: str
    standby_names: str
    standbys: int
    synchronous: int
    unknown: int


@dataclass(frozen=True)
class Capacity:
    """Connections that we may have at most, and how many others have now."""

    limit: int
    others: int


def sqlite_release() -> tuple[str, bool]:
    """Of the library in use, and whether it is free of the race that can lose committed writes."""
    return sqlite.DRIVER.sqlite_version, sqlite.DRIVER.sqlite_version_info >= sqlite.OLDEST_SAFE


def postgresql_release(db: Connection) -> int:
    """As 180002 is 18.2."""
    return int(driver(db).info.server_version)


def is_pooled(db: Connection) -> bool:
    """Whether a pooler stands between."""
    return bool(driver(db).is_pooled)


def durability(db: Connection) -> Durability:
    return Durability(*db.execute(text(DURABILITY)).one())


def capacity(db: Connection) -> Capacity:
    *limits, others = db.execute(text(CAPACITY)).one()
    return Capacity(min(limit for limit in limits if limit >= 0), others)
