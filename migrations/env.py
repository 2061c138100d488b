"""How a migration runs: alone, in one transaction, on either database."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
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
# What else views say, and what each database understands by it. SQLite gives a computed column no type of its
# own, and has no statistics: it takes every equality for one that few rows fit.
WORDS = {
    "postgresql": {
        r"UTC_DAY\((\S+)\)": r"CAST(\1 AT TIME ZONE 'UTC' AS date)",  # an index has these very words
        r"TIME_COLUMN\((\S+)\)": r"\1",
        r"NOT_RARE\((.+?)\)": r"\1",
    },
    "sqlite": {
        r"UTC_DAY\((\S+)\)": r"CAST(substr(\1, 1, 10) AS text)",
        r"TIME_COLUMN\((\S+)\)": r"CAST(\1 AS text)",
        r"NOT_RARE\((.+?)\)": r"likelihood(\1, 0.3)",
    },
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
    name, db = f"{operation.name}_v{operation.version}", operations.get_bind()
    _create(db, name, _view(db, operation), "CREATE VIEW")


@Operations.implementation_for(ReplaceReportView)
def replace_report_view(operations: Operations, operation: ReplaceReportView) -> None:
    name, db = f"{operation.name}_v{operation.version}", operations.get_bind()
    if db.dialect.name == "sqlite":
        db.exec_driver_sql(f"DROP VIEW {name}")
        _create(db, name, _view(db, operation), "CREATE VIEW")
    else:  # so that whoever may read it still may
        _create(db, name, _view(db, operation), "CREATE OR REPLACE VIEW")


@Operations.register_operation("comment_on_report_views")
class CommentOnReportViews(MigrateOperation):
    """`op.comment_on_report_views("0009")` puts the words of comments.0009.md on views and columns.

    They are the lines of docs/analysts.md. SQLite has no place for them.
    """

    def __init__(self, revision: str) -> None:
        self.revision = revision

    @classmethod
    def comment_on_report_views(cls, operations: Operations, revision: str) -> None:
        operations.invoke(cls(revision))


@Operations.implementation_for(CommentOnReportViews)
def comment_on_report_views(operations: Operations, operation: CommentOnReportViews) -> None:
    db, view = operations.get_bind(), ""
    if db.dialect.name == "sqlite":
        return
    for line in (VIEWS / f"comments.{operation.revision}.md").read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"## (\w+): (.+)", line):
            view, of, words = heading[1], f"VIEW {heading[1]}", heading[2]
        else:
            column, words = (cell.strip() for cell in line.strip("|").split("|", 1))
            of = f"COLUMN {view}.{column.strip('`')}"
        quoted = words.replace("'", "''")
        db.exec_driver_sql(f"COMMENT ON {of} IS '{quoted}'")


def _view(db: Connection, operation: CreateReportView | ReplaceReportView) -> str:
    """One file for both databases, or one for each where what is quick on one is slow on the other."""
    revision = f".{operation.revision}" if isinstance(operation, ReplaceReportView) else ""
    name = f"{operation.name}.v{operation.version}{revision}"
    paths = [VIEWS / f"{name}.sql", VIEWS / f"{name}.{db.dialect.name}.sql"]
    return next(path for path in paths if path.exists()).read_text(encoding="utf-8")


def _create(db: Connection, name: str, query: str, create: str) -> None:
    query = re.sub(r"\bSECONDS\((\S+), (\S+)\)", SECONDS[db.dialect.name], query)
    for word, sql in WORDS[db.dialect.name].items():
        query = re.sub(rf"\b{word}", sql, query)
    query = re.sub(r"\b([A-Z_]+)_(\d+)(?:\((\w+)\))?", lambda found: _by_causes(*found.groups()), query)
    # Not through op.execute, which would take a colon in it for a parameter.
    db.exec_driver_sql(f"{create} {name} AS\n{query}")


def _by_causes(word: str, version: str, row: str | None) -> str:
    """What a view says as ERROR_CAUSE_1(row), and so on: all of it is made of causes.1.csv."""
    with (VIEWS / f"causes.{version}.csv").open(encoding="utf-8", newline="") as file:
        causes = list(csv.DictReader(file))
    return CAUSES[word](causes, row)


def _known_causes(causes: Causes, _row: str | None) -> str:
    return ", ".join("({})".format(", ".join(f"'{value}'" for value in one.values())) for one in causes)


def _error_cause(causes: Causes, row: str | None) -> str:
    """By the first sign that fits; `any` is the last of its kind."""
    said = {
        "code": "{row}.error_code = '{text}'",
        "status": "{row}.error_status = {text}",
        "text": "lower(trim({row}.error_detail)) = '{text}'",
    }
    kinds: dict[str, str] = {}
    for one in causes:
        by, _, text = one["sign"].partition(" ")
        is_so = "{row}.error_status >= 500" if text == "5xx" else said.get(by, "1 = 1")
        when = f"WHEN {is_so.format(row=row, text=text)} THEN '{one['cause']}'"
        kinds[one["kind"]] = f"{kinds.get(one['kind'], '')} {when}"
    whens = (f"WHEN '{kind}' THEN CASE{kinds[kind]} END" for kind in kinds if kind not in NO_ERRORS)
    return f"CASE {row}.error_kind {' '.join(whens)} END"


def _overdue_cause(causes: Causes, row: str | None) -> str:
    whens = (f"WHEN '{one['sign']}' THEN '{one['cause']}'" for one in causes if one["kind"] == "overdue")
    return f"CASE {row}.overdue_kind {' '.join(whens)} END"


def _side(causes: Causes, row: str | None) -> str:
    sides = {one["cause"]: one["side"] for one in causes}
    whens = (f"WHEN '{cause}' THEN '{side}'" for cause, side in sides.items())
    return f"CASE {row}.cause {' '.join(whens)} END"


Causes = list[dict[str, str]]
NO_ERRORS = {"overdue", "call_over"}
CAUSES: dict[str, Callable[[Causes, str | None], str]] = {
    "CAUSES": _known_causes,
    "ERROR_CAUSE": _error_cause,
    "OVERDUE_CAUSE": _overdue_cause,
    "SIDE": _side,
}


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
