"""Many rows are written in one statement, past SQLAlchemy, whose handling of one costs more than running it.

The statements are made from the tables as SQLAlchemy knows them, and run by the driver of its connection.
Each is one text, however many rows it is for, so that it is prepared once: the rows go to PostgreSQL as one
JSON parameter, which the server takes apart, and to SQLite as the tuples that its driver wants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import LargeBinary, Table
from sqlalchemy.dialects import postgresql

from service.store.columns import conversions, quoted, written_out
from service.store.engine import AnyConnection, driver, is_postgresql
from service.store.json import canonical_json

Row = Mapping[str, Any]
Computed = tuple[tuple[str, str], ...]  # columns that no row names, and the SQL of their values


class Batch:
    """Rows to be written together: to PostgreSQL in one statement.

    There none sees what another does: a row that is added is not changed in the same batch.
    """

    def __init__(self, db: AnyConnection) -> None:
        self._db = db
        self._statements: list[tuple[str, Any]] = []
        self._changed: set[Table] = set()

    def add(self, table: Table, rows: Sequence[Row], sqlite_values: Computed = ()) -> None:
        """Insert `rows`, which all name the same columns. SQLite computes `sqlite_values` for each."""
        if not rows:
            return
        columns = tuple(rows[0])
        if is_postgresql(self._db):
            self._statements.append((_add_json(table, columns), canonical_json(rows)))
        else:
            self._statements.append((_add(table, columns, sqlite_values), _tuples(table, columns, rows)))

    def change(self, table: Table, rows: Sequence[Row]) -> None:
        """Update the rows that `id` names; all of `rows` name the same columns."""
        if not rows:
            return
        if table in self._changed:
            self.write()  # the same row could be meant, and one statement would change it only once
        self._changed.add(table)
        # Not the id itself: SQLite would look for every row that refers to it.
        columns = tuple(name for name in rows[0] if name != "id")
        if is_postgresql(self._db):
            self._statements.append((_change_json(table, columns), canonical_json(rows)))
        else:
            self._statements.append((_change(table, columns), _tuples(table, (*columns, "id"), rows)))

    def put(self, table: Table, rows: Sequence[Row], key: str) -> None:
        """Insert `rows`, or change those that are there: `key` tells which; all name the same columns.

        Of what else is in the batch, nothing may be of `table`.
        """
        if not rows:
            return
        columns = tuple(rows[0])
        if is_postgresql(self._db):
            text = _add_json(table, columns) + _or_change(columns, key)
            self._statements.append((text, canonical_json(rows)))
        else:
            text = _add(table, columns, ()) + _or_change(columns, key)
            self._statements.append((text, _tuples(table, columns, rows)))

    def write(self) -> None:
        """What was gathered since the last time, if anything was."""
        statements, self._statements = self._statements, []
        self._changed.clear()
        if not statements:
            return
        if is_postgresql(self._db):
            *others, last = (text for text, _ in statements)
            named = ", ".join(f"w{at} AS ({text})" for at, text in enumerate(others))
            together = f"WITH {named} {last}" if named else last
            driver(self._db).execute(together, [rows for _, rows in statements])
        else:
            for text, rows in statements:
                driver(self._db).executemany(text, rows)


@cache
def _add(table: Table, columns: tuple[str, ...], computed: Computed) -> str:
    names = quoted((*columns, *(name for name, _ in computed)))
    values = ", ".join((*"?" * len(columns), *(value for _, value in computed)))
    return f"INSERT INTO {table.name} ({names}) VALUES ({values})"  # noqa: S608


@cache
def _change(table: Table, columns: tuple[str, ...]) -> str:
    values = ", ".join(f'"{name}" = ?' for name in columns)
    return f"UPDATE {table.name} SET {values} WHERE id = ?"  # noqa: S608


@cache
def _add_json(table: Table, columns: tuple[str, ...]) -> str:
    values = ", ".join(_value(table, name) for name in columns)
    return f"INSERT INTO {table.name} ({quoted(columns)}) SELECT {values} FROM {_rows(table, columns)}"  # noqa: S608


@cache
def _change_json(table: Table, columns: tuple[str, ...]) -> str:
    values = ", ".join(f'"{name}" = {_value(table, name)}' for name in columns)
    rows = _rows(table, (*columns, "id"))
    return f"UPDATE {table.name} SET {values} FROM {rows} WHERE {table.name}.id = r.id"  # noqa: S608


@cache
def _or_change(columns: tuple[str, ...], key: str) -> str:
    values = ", ".join(f'"{name}" = excluded."{name}"' for name in columns if name != key)
    return f' ON CONFLICT ("{key}") DO UPDATE SET {values}'


def _rows(table: Table, columns: tuple[str, ...]) -> str:
    typed = ", ".join(f'"{name}" {_type(table, name)}' for name in columns)
    return f"json_to_recordset(CAST(%s AS json)) AS r({typed})"


def _type(table: Table, name: str) -> str:
    kind = table.c[name].type
    if isinstance(kind, LargeBinary):
        return "text"  # base64
    return kind.compile(postgresql.dialect())  # type: ignore[no-untyped-call]


def _value(table: Table, name: str) -> str:
    is_binary = isinstance(table.c[name].type, LargeBinary)
    return f"decode(r.\"{name}\", 'base64')" if is_binary else f'r."{name}"'


def _tuples(table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> Iterator[Sequence[Any]]:
    """As SQLite keeps them."""
    converted = conversions(table, columns, written_out, canonical_json)
    chosen = itemgetter(*columns)
    for row in rows:
        values = list(chosen(row))
        for at, _, convert in converted:
            if values[at] is not None:
                values[at] = convert(values[at])
        yield values
