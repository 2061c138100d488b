"""Many rows in one statement, past SQLAlchemy's handling of each parameter, which costs more than the rest.

On PostgreSQL they go as one JSON parameter, which the server takes apart, because psycopg's executemany costs
as much again; on SQLite as the tuples that its driver wants.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, LargeBinary, Table, TextClause, text
from sqlalchemy.dialects import postgresql

from service.store.engine import canonical_json
from service.store.tables import written_out

Row = Mapping[str, Any]


def add(db: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert `rows`, which all name the same columns."""
    if rows:
        columns = tuple(rows[0])
        if db.dialect.name == "postgresql":
            db.execute(_add_json(table, columns), {"rows": _json(rows)})
        else:
            db.exec_driver_sql(_add(table, columns), [_tuple(row, columns) for row in rows])


def change(db: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Update the rows that `id` names; all of `rows` name the same columns."""
    if rows:
        # Not the id itself: SQLite would look for every row that refers to it.
        columns = tuple(name for name in rows[0] if name != "id")
        if db.dialect.name == "postgresql":
            db.execute(_change_json(table, columns), {"rows": _json(rows)})
        else:
            db.exec_driver_sql(_change(table, columns), [_tuple(row, (*columns, "id")) for row in rows])


@cache
def _add(table: Table, columns: tuple[str, ...]) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    return f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 (names of our own)


@cache
def _change(table: Table, columns: tuple[str, ...]) -> str:
    values = ", ".join(f'"{name}" = ?' for name in columns)
    return f"UPDATE {table.name} SET {values} WHERE id = ?"  # noqa: S608


@cache
def _add_json(table: Table, columns: tuple[str, ...]) -> TextClause:
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(_value(table, name) for name in columns)
    return text(f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {_rows(table, columns)}")  # noqa: S608


@cache
def _change_json(table: Table, columns: tuple[str, ...]) -> TextClause:
    values = ", ".join(f'"{name}" = {_value(table, name)}' for name in columns)
    rows = _rows(table, (*columns, "id"))
    return text(f"UPDATE {table.name} SET {values} FROM {rows} WHERE {table.name}.id = r.id")  # noqa: S608


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


def _tuple(row: Row, columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple(_bound(row[name]) for name in columns)


def _bound(value: Any) -> Any:
    if isinstance(value, datetime):
        return written_out(value)
    return canonical_json(value) if isinstance(value, dict) else value
