"""SQLite: how a connection is prepared, and how long a read may take."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event

from service.store.errors import sqlite_driver
from service.store.json import canonical_json

OLDEST_SAFE: Final = (3, 51, 3)  # earlier ones have a race in WAL reset that can lose committed writes
# Four times the default: who commits into a full log has to empty it, and is the slowest of a hundred.
CHECKPOINT_PAGES: Final = 4000
PREPARE_SECONDS: Final = 5
READ_SECONDS: Final = 5
STEPS: Final = 10_000  # of SQLite's machine, between two looks at the clock

log = logging.getLogger(__name__)


def engine(url: URL, connections: int, busy_seconds: float) -> Engine:
    # isolation_level=None: the driver's own transactions lose updates between processes.
    made = create_engine(
        url,
        module=sqlite_driver,
        connect_args={"isolation_level": None, "timeout": busy_seconds, "check_same_thread": False},
        pool_size=connections,
        max_overflow=0,
        pool_timeout=busy_seconds,
        json_serializer=canonical_json,
    )
    event.listen(made, "connect", _prepare)
    event.listen(made, "begin", _begin)
    return made


def limit(db: Connection, seconds: float = READ_SECONDS) -> None:
    """End what this connection reads after so many seconds."""
    deadline = time.monotonic() + seconds
    connection: Any = db.connection.driver_connection
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)


def unlimit(db: Connection) -> None:
    connection: Any = db.connection.driver_connection
    connection.set_progress_handler(None, STEPS)


def warn_if_old() -> None:
    if sqlite_driver.sqlite_version_info < OLDEST_SAFE:
        log.warning("SQLite %s can lose committed writes; install pysqlite3", sqlite_driver.sqlite_version)


def _prepare(connection: Any, _record: Any) -> None:
    pragmas = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
    for pragma in (*pragmas, f"wal_autocheckpoint={CHECKPOINT_PAGES}"):
        _insist(connection, f"PRAGMA {pragma}")


def _insist(connection: Any, statement: str) -> None:
    """The turn to WAL fails at once while another process makes it, whatever the busy timeout."""
    deadline = time.monotonic() + PREPARE_SECONDS
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite_driver.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _begin(db: Connection) -> None:
    connection: Any = db.connection.driver_connection
    connection.execute(db.get_execution_options().get("sqlite_begin", "BEGIN"))
