"""Many rows in one statement, past SQLAlchemy, whose handling of a statement costs more than running it.

The statements are made from the tables as SQLAlchemy knows them, and run by the driver of its connection.
Each is one text, however many rows it is for, so that it is prepared once: the rows go to PostgreSQL as one
JSON parameter, which the server takes apart, and to SQLite as the tuples that its driver wants.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import JSON, Connection, LargeBinary, Table
from sqlalchemy.dialects import postgresql

from service.store.columns import UtcTime, read_back, written_out
from service.store.engine import IngestConnection, driver, is_postgresql
from service.store.json import canonical_encoder, canonical_json

AnyConnection = Connection | IngestConnection
Row = Mapping[str, Any]
Conversion = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class Lookup:
    """The rows of `table` whose `by` is one of those wanted, with these columns, sorted by those of `order`.

    Where `locks`, nobody else changes them until the transaction ends.
    """

    table: Table
    columns: tuple[str, ...]
    by: str
    order: tuple[str, ...]
    locks: bool = False

    def __call__(self, db: AnyConnection, wanted: Collection[str]) -> Iterator[dict[str, Any]]:
        """Run now, to be read once those that are `looked_up_at_once` have all been run."""
        if is_postgresql(db):
            found = driver(db).execute(self._on_postgresql, [list(wanted)])
        else:
            found = driver(db).execute(self._on_sqlite, [json.dumps(list(wanted))])
        return self._rows(found)

    def _rows(self, found: Any) -> Iterator[dict[str, Any]]:
        return _read(self.table, self.columns, found.fetchall())

    @cached_property
    def _on_sqlite(self) -> str:
        return self._select("IN (SELECT value FROM json_each(?))")

    @cached_property
    def _on_postgresql(self) -> str:
        # Key shares of foreign keys are let through: a callback that refers to the row changes nothing in it.
        return self._select("= ANY(%s)") + (" FOR NO KEY UPDATE" if self.locks else "")

    def _select(self, is_wanted: str) -> str:
        return (
            f"SELECT {_names(self.columns)} FROM {self.table.name} "  # noqa: S608 (names of our own)
            f'WHERE "{self.by}" {is_wanted} ORDER BY {_names(self.order)}'
        )


@dataclass(frozen=True, eq=False)
class First:
    """Of each of the wanted values of `by` the first `most` rows in the order of these columns."""

    table: Table
    columns: tuple[str, ...]
    by: str
    order: tuple[str, ...]
    most: int

    def __call__(self, db: AnyConnection, wanted: Collection[str]) -> Iterator[dict[str, Any]]:
        """As of a Lookup."""
        if is_postgresql(db):
            found = driver(db).execute(self._on_postgresql, [list(wanted)])
            return self._rows(found)
        rows = (driver(db).execute(self._one, [value]).fetchall() for value in wanted)
        return _read(self.table, self.columns, list(chain.from_iterable(rows)))

    def _rows(self, found: Any) -> Iterator[dict[str, Any]]:
        yield from _read(self.table, self.columns, found.fetchall())

    @cached_property
    def _one(self) -> str:
        return self._select("?")

    @cached_property
    def _on_postgresql(self) -> str:
        columns = ", ".join(f'found."{name}"' for name in self.columns)
        return (
            f"SELECT {columns} FROM unnest(CAST(%s AS text[])) AS wanted(value) "  # noqa: S608
            f"CROSS JOIN LATERAL ({self._select('wanted.value')}) AS found"
        )

    def _select(self, value: str) -> str:
        return (
            f"SELECT {_names(self.columns)} FROM {self.table.name} "  # noqa: S608 (names of our own)
            f'WHERE "{self.by}" = {value} ORDER BY {_names(self.order)} LIMIT {self.most}'
        )


def looked_up_at_once(db: AnyConnection) -> AbstractContextManager[object]:
    """Lookups inside go to PostgreSQL in one round trip; SQLAlchemy can do nothing inside."""
    if is_postgresql(db) and not isinstance(db, IngestConnection):  # that is in a pipeline already
        pipeline: AbstractContextManager[object] = driver(db).pipeline()
        return pipeline
    return nullcontext()


class Batch:
    """Rows to be written together: to PostgreSQL in one statement.

    There none sees what another does: a row that is added is not changed in the same batch.
    """

    def __init__(self, db: AnyConnection) -> None:
        self._db = db
        self._statements: list[tuple[str, Any]] = []
        self._changed: set[Table] = set()

    def add(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert `rows`, which all name the same columns."""
        if not rows:
            return
        columns = tuple(rows[0])
        if is_postgresql(self._db):
            self._statements.append((_add_json(table, columns), _json(rows)))
        else:
            self._statements.append((_add(table, columns), _tuples(table, columns, rows)))

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
            self._statements.append((_change_json(table, columns), _json(rows)))
        else:
            self._statements.append((_change(table, columns), _tuples(table, (*columns, "id"), rows)))

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


def _read(table: Table, columns: tuple[str, ...], rows: Sequence[Any]) -> Iterator[dict[str, Any]]:
    conversions = _conversions(table, columns, read_back, _from_json)
    for values in rows:
        row = dict(zip(columns, values, strict=True))
        for _, name, convert in conversions:
            if row[name] is not None:
                row[name] = convert(row[name])
        yield row


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


@cache
def _add(table: Table, columns: tuple[str, ...]) -> str:
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO {table.name} ({_names(columns)}) VALUES ({places})"  # noqa: S608


@cache
def _change(table: Table, columns: tuple[str, ...]) -> str:
    values = ", ".join(f'"{name}" = ?' for name in columns)
    return f"UPDATE {table.name} SET {values} WHERE id = ?"  # noqa: S608


@cache
def _add_json(table: Table, columns: tuple[str, ...]) -> str:
    values = ", ".join(_value(table, name) for name in columns)
    return f"INSERT INTO {table.name} ({_names(columns)}) SELECT {values} FROM {_rows(table, columns)}"  # noqa: S608


@cache
def _change_json(table: Table, columns: tuple[str, ...]) -> str:
    values = ", ".join(f'"{name}" = {_value(table, name)}' for name in columns)
    rows = _rows(table, (*columns, "id"))
    return f"UPDATE {table.name} SET {values} FROM {rows} WHERE {table.name}.id = r.id"  # noqa: S608


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


def _json(rows: Sequence[Row]) -> str:
    return _ROWS.encode(rows)


def _plain(value: datetime | bytes) -> str:
    return value.isoformat() if isinstance(value, datetime) else base64.b64encode(value).decode()


_ROWS = canonical_encoder(_plain)


def _tuples(table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> Iterator[Sequence[Any]]:
    """As SQLite keeps them."""
    conversions = _conversions(table, columns, written_out, canonical_json)
    chosen = itemgetter(*columns)
    for row in rows:
        values = list(chosen(row))
        for at, _, convert in conversions:
            if values[at] is not None:
                values[at] = convert(values[at])
        yield values


@cache
def _conversions(
    table: Table, columns: tuple[str, ...], of_time: Conversion, of_json: Conversion
) -> list[tuple[int, str, Conversion]]:
    """(place, name, conversion) of the columns whose values no driver knows."""
    by_type = {UtcTime: of_time, JSON: of_json}
    kinds = [(at, name, by_type.get(type(table.c[name].type))) for at, name in enumerate(columns)]
    return [(at, name, conversion) for at, name, conversion in kinds if conversion]


def _from_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value  # psycopg has read it already
