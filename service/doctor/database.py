"""Whether the database is there, at the right schema and release, and commits as fast as callbacks need."""

from __future__ import annotations

import statistics
import time
from typing import Final

from service.doctor.check import Finding, ok, skipped, warning, wrong
from service.doctor.situation import Situation
from service.ledger import canary
from service.store import schema, server_facts
from service.store.engine import DatabaseError, DatabaseUnavailable, DatabaseUnusable
from service.store.schema import Age

COMMITS: Final = 5
SLOW_SECONDS: Final = 0.1  # of one commit
TOO_SLOW_SECONDS: Final = 0.8  # then a callback goes to the spool
OLDEST_POSTGRESQL: Final = 14
LOOK: Final = "Find out what its disk or standby waits for."
LIMITS: Final = "Set pool_mode = transaction (or session) for this database."


def database(situation: Situation) -> Finding:
    """It answers."""
    if not situation.is_file_there():
        return wrong("There is no file where DATABASE_URL says.", "Run siprec-ledger db upgrade.")
    try:
        with situation.database.read():
            pass
    except DatabaseError as error:
        what_to_do = "Start it, or mend DATABASE_URL; callbacks wait in the spool meanwhile."
        why = str(error).removeprefix("the database does not answer: ")
        return wrong(f"It does not answer: {why}.", what_to_do)
    return ok("It answers.")


def schema_age(situation: Situation) -> Finding:
    with situation.database.read() as db:
        age = schema.age(db)
    if age is Age.OF_0_1:
        return wrong("It is of version 0.1.", "Give it a new database, and run siprec-ledger db upgrade.")
    if age in {Age.MISSING, Age.OLDER}:
        return wrong(f"It is {age}.", "Run siprec-ledger db upgrade.")
    return ok(f"It is {age}.")


def release(situation: Situation) -> Finding:
    """Of SQLite's library here, or PostgreSQL's server."""
    if situation.database.is_sqlite:
        version, is_safe = server_facts.sqlite_release()
        if not is_safe:
            oldest = server_facts.OLDEST_SAFE_SQLITE
            return wrong(
                f"SQLite {version} has a race that can lose committed writes (before {oldest}).",
                f"Install pysqlite3, or a Python with SQLite {oldest} or later.",
            )
        return ok(f"SQLite {version}.")
    with situation.database.read() as db:
        number = server_facts.postgresql_release(db)
    if number // 10_000 < OLDEST_POSTGRESQL:
        return warning(f"PostgreSQL {number // 10_000} gets no corrections any more.", "Upgrade the server.")
    return ok(f"PostgreSQL {number // 10_000}.{number % 10_000}.")


def commit(situation: Situation) -> Finding:
    """It commits, durably, and how long that takes."""
    try:
        seconds = statistics.median(_commit_seconds(situation) for _ in range(COMMITS))
    except DatabaseUnavailable as error:
        what_to_do = "Look at its log: is its disk full, does it only read, is a synchronous standby missing?"
        return wrong(f"It takes no writes: {error}.", what_to_do)
    took = f"A commit takes {seconds * 1000:.1f} ms"
    if seconds >= TOO_SLOW_SECONDS:
        return wrong(f"{took}; callbacks go to the spool instead.", LOOK)
    if seconds >= SLOW_SECONDS:
        return warning(f"{took}; all that wait share one.", LOOK)
    return ok(f"{took}.")


def _commit_seconds(situation: Situation) -> float:
    began = time.monotonic()
    canary.commit(situation.database)
    return time.monotonic() - began


def pooler(situation: Situation) -> Finding:
    """Whether one stands between, and keeps a transaction and its limits."""
    if situation.database.is_sqlite:
        return ok("SQLite has none.")
    try:
        situation.database.check()
        with situation.database.read() as db:
            is_pooled = server_facts.is_pooled(db)
    except DatabaseUnusable:
        return wrong("The pooler before PostgreSQL does not keep a transaction and its limits.", LIMITS)
    except DatabaseError:
        return skipped("The database does not answer.")
    return ok(
        "One stands between, and keeps transactions and limits." if is_pooled else "None stands between."
    )
