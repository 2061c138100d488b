"""Many rows in one statement.

On PostgreSQL they go as one JSON parameter, which the server takes apart: psycopg's executemany costs more
per row than all the rest of a callback.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    Insert,
    LargeBinary,
    Table,
    TextClause,
    Update,
    bindparam,
    insert,
    text,
    update,
)
from sqlalchemy.dialects import postgresql

from service.store.engine import canonical_json

Row = Mapping[str, Any]


def add(db: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert `rows`, which all name the same columns."""
    if rows:
        columns = tuple(rows[0])
        if db.dialect.name == "postgresql":
            db.execute(_add_json(table, columns), {"rows": _json(rows)})
        else:
            db.execute(_add(table), rows)


def change(db: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Update the rows that `id` names; all of `rows` name the same columns."""
    if rows:
        columns = tuple(rows[0])
        if db.dialect.name == "postgresql":
            db.execute(_change_json(table, columns), {"rows": _json(rows)})
        else:
            db.execute(_change(table), [_named(row) for row in rows])


@cache
def _add(table: Table) -> Insert:
    return insert(table)


@cache
def _change(table: Table) -> Update:
    return update(table).where(table.c.id == bindparam("of"))


@cache
def _add_json(table: Table, columns: tuple[str, ...]) -> TextClause:
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(_value(table, name) for name in columns)
    return text(f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {_rows(table, columns)}")  # noqa: S608 (names of our own)


@cache
def _change_json(table: Table, columns: tuple[str, ...]) -> TextClause:
    values = ", ".join(f'"{name}" = {_value(table, name)}' for name in columns if name != "id")
    rows = _rows(table, columns)
    return text(f"UPDATE {table.name} SET {values} FROM {rows} WHERE {table.name}.id = r.id")  # noqa: S608


def _named(row: Row) -> Row:
    """Without `id` among what is set: SQLite would look for every row that refers to it."""
    return {"of" if name == "id" else name: value for name, value in row.items()}


def _rows(table: Table, columns: tuple[str, ...]) -> str:
    told = ", ".join(f'"{name}" {_type(table, name)}' for name in columns)
    return f"json_to_recordset(CAST(:rows AS json)) AS r({told})"


def _type(table: Table, name: str) -> str:
    kind = table.c[name].type
    if isinstance(kind, LargeBinary):
        return "text"  # base64
    return kind.compile(postgresql.dialect())  # type: ignore[no-untyped-call]


def _value(table: Table, name: str) -> str:
    is_binary = isinstance(table.c[name].type, LargeBinary)
    return f"decode(r.\"{name}\", 'base64')" if is_binary else f'r."{name}"'


def _json(rows: Sequence[Row]) -> str:
    return canonical_json([{name: _plain(value) for name, value in row.items()} for row in rows])


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
