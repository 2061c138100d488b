"""All checks, in the order in which they are told."""

from __future__ import annotations

from typing import Final

from service.doctor import database, disk, postgresql, processes, proxy, public_url, settings, telnyx
from service.doctor.check import Check

SET: Final = ("settings",)
ANSWERS: Final = ("database",)
HAS_TABLES: Final = ("schema",)
REACHED: Final = ("public_url",)

# The longest chain of those that need each other has LONGEST_SECONDS together, at most.
LONGEST_SECONDS: Final = 31.0
CHECKS: Final = (
    Check("settings", "all settings can be read and go together", 3, settings.settings),
    Check("secret_key", "`SECRET_KEY` looks random", 1, settings.secret_key, SET),
    Check(
        "telnyx_keys", "Telnyx's keys are well-formed, none is the sandbox's", 1, settings.telnyx_keys, SET
    ),
    Check(
        "pooler",
        "a pooler before PostgreSQL keeps a transaction, and our limits in it",
        6,
        database.pooler,
        SET,
    ),
    Check("database", "the database answers", 5, database.database, ("pooler",)),
    Check("schema", "its schema is this release's, or a later one", 5, database.schema_age, ANSWERS),
    Check(
        "database_release",
        "SQLite is 3.51.3 or later (before, committed writes may be lost), PostgreSQL 14 or later",
        5,
        database.release,
        ANSWERS,
    ),
    Check("database_commit", "it commits durably, in less than 100 ms", 12, database.commit, ANSWERS),
    Check(
        "replication",
        "what is committed is synced, and with a synchronous standby that there is one",
        5,
        postgresql.replication,
        ANSWERS,
    ),
    Check(
        "connections",
        "`max_connections` is enough for `DATABASE_CONNECTIONS` and four more of each web process",
        5,
        postgresql.connections,
        HAS_TABLES,
    ),
    Check("spool", "`SPOOL_DIR` keeps what is written, on a local disk, fast", 8, disk.spool, SET),
    Check("spool_space", "its disk has room for `SPOOL_LIMIT_MB`", 3, disk.spool_space, ("spool",)),
    Check("clock", "this host's clock is less than 5 s from Telnyx's `Date`", 8, telnyx.clock, SET),
    Check("telnyx_api_key", "Telnyx accepts every `TELNYX_API_KEY`", 10, telnyx.api_key, ("telnyx_keys",)),
    Check(
        "connector",
        "connectors used lately (or named by an option) exist, with port 5061 where sessions are secure",
        10,
        telnyx.connector,
        ("telnyx_api_key", "database"),
    ),
    Check("public_address", "`PUBLIC_URL` is https, and on the Internet", 5, public_url.address, SET),
    Check(
        "public_url",
        "a canary comes back from `PUBLIC_URL` in less than 1 s, and could be kept",
        5,
        public_url.canary,
        SET,
    ),
    Check(
        "public_paths",
        "with `INTERNAL_BIND`, `PUBLIC_URL` shows callbacks alone",
        14,
        public_url.hidden,
        REACHED,
    ),
    Check("proxy_body", "bodies of 1 MiB pass", 15, proxy.body, REACHED),
    Check(
        "proxy_timeout",
        "an answer after 2 s passes; without `INTERNAL_BIND`, one after 21 s, as apps may wait",
        23,
        proxy.timeout,
        REACHED,
    ),
    Check(
        "proxy_buffering",
        "without `INTERNAL_BIND`, answers pass as they come",
        10,
        proxy.buffering,
        REACHED,
    ),
    Check("heartbeat", "a process was seen in the last 15 s", 5, processes.heartbeat, HAS_TABLES),
    Check(
        "workers",
        "where any web process runs here, as many as `WEB_CONCURRENCY` says (on SQLite 1); none is behind",
        5,
        processes.workers,
        ("schema", "heartbeat"),
    ),
    Check(
        "hosts",
        "no host with a spool is missing, and nothing waits on their disks",
        5,
        processes.hosts,
        HAS_TABLES,
    ),
)
