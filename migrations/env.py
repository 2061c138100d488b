"""How a migration runs: alone, in one transaction, on either database."""

from __future__ import annotations

import re
from pathlib import Path

from alembic import context
from alembic.operations import MigrateOperation, Operations
from sqlalchemy import Connection, create_engine

VIEWS = Path(__file__).parent / "views"
LOCK = 5_127_364  # any number, the same for ever: whoever migrates holds it
# What views say as SECONDS(from, to). SQLite's own date functions round to milliseconds.
SECONDS = {
    "postgresql": r"CAST(EXTRACT(EPOCH FROM \2 - \1) AS double precision)",
    "sqlite": (
        r"ROUND(CAST(strftime('%s', \2) AS INTEGER) - CAST(strftime('%s', \1) AS INTEGER)"
        r" + CAST(substr(\2, 20, 7) AS REAL) - CAST(substr(\1, 20, 7) AS REAL), 6)"
    ),
}


@Operations.register_operation("create_report_view")
class CreateReportView(MigrateOperation):
    """`op.create_report_view("report_sessions", 1)` makes report_sessions_v1 from views/."""

    def __init__(self, name: str, version: int) -> None:
        self.name = name
        self.version = version

    @classmethod
    def create_report_view(cls, operations: Operations, name: str, version: int) -> None:
        operations.invoke(cls(name, version))


@Operations.register_operation("replace_report_view")
class ReplaceReportView(MigrateOperation):
    """`op.replace_report_view("report_sessions", 1, "0004")` puts report_sessions.v1.0004.sql in its place.

    That has all columns that the view had, and further ones behind them.
    """

    def __init__(self, name: str, version: int, revision: str) -> None:
        self.name = name
        self.version = version
        self.revision = revision

    @classmethod
    def replace_report_view(cls, operations: Operations, name: str, version: int, revision: str) -> None:
        operations.invoke(cls(name, version, revision))


@Operations.implementation_for(CreateReportView)
def create_report_view(operations: Operations, operation: CreateReportView) -> None:
    _create(operations.get_bind(), f"{operation.name}_v{operation.version}", _view(operation), "CREATE VIEW")


@Operations.implementation_for(ReplaceReportView)
def replace_report_view(operations: Operations, operation: ReplaceReportView) -> None:
    name, db = f"{operation.name}_v{operation.version}", operations.get_bind()
    if db.dialect.name == "sqlite":
        db.exec_driver_sql(f"DROP VIEW {name}")
        _create(db, name, _view(operation), "CREATE VIEW")
    else:  # so that whoever may read it still may
        _create(db, name, _view(operation), "CREATE OR REPLACE VIEW")


def _view(operation: CreateReportView | ReplaceReportView) -> str:
    revision = f".{operation.revision}" if isinstance(operation, ReplaceReportView) else ""
    path = VIEWS / f"{operation.name}.v{operation.version}{revision}.sql"
    return path.read_text(encoding="utf-8")


def _create(db: Connection, name: str, query: str, create: str) -> None:
    query = re.sub(r"SECONDS\((\S+), (\S+)\)", SECONDS[db.dialect.name], query)
    # Not through op.execute, which would take a colon in it for a parameter.
    db.exec_driver_sql(f"{create} {name} AS\n{query}")


def run(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        _run_on_sqlite(connection)
    else:
        _run_on_postgresql(connection)


def _run_on_postgresql(connection: Connection) -> None:
    with connection.begin():
        # Others who migrate wait here; who runs the old code is not kept waiting behind us.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        _migrate(connection)


def _run_on_sqlite(connection: Connection) -> None:
    # Inside a transaction the pragma does nothing, and with foreign keys on, DROP cascades rows away.
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute("PRAGMA foreign_keys=OFF")
    driver.execute("PRAGMA busy_timeout=60000")
    connection = connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
    try:
        with connection.begin():
            _migrate(connection)
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            if broken:
                raise RuntimeError(f"the migration broke foreign keys: {broken[:5]}")
    finally:
        connection.invalidate()  # so that nobody works on without foreign keys


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, transactional_ddl=True)
    context.run_migrations()


if "connection" in context.config.attributes:
    run(context.config.attributes["connection"])
else:  # by hand: alembic -x url=... upgrade head
    with create_engine(context.get_x_argument(as_dictionary=True)["url"]).connect() as by_hand:
        run(by_hand)
