"""Rows are read past SQLAlchemy, whose handling of a statement costs more than running it.

The statements are made from the tables as SQLAlchemy knows them, and run by the driver of its connection.
Each is one text, however many rows are wanted, so that it is prepared once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Table

from service.store.columns import conversions, quoted, read_back
from service.store.engine import AnyConnection, IngestConnection, driver, is_postgresql
from service.store.json import read_json


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
        return _read(self.table, self.columns, found.fetchall)

    @cached_property
    def _on_sqlite(self) -> str:
        return self._select("IN (SELECT value FROM json_each(?))")

    @cached_property
    def _on_postgresql(self) -> str:
        # Key shares of foreign keys are let through: a callback that refers to the row changes nothing in it.
        return self._select("= ANY(%s)") + (" FOR NO KEY UPDATE" if self.locks else "")

    def _select(self, is_wanted: str) -> str:
        return (
            f"SELECT {quoted(self.columns)} FROM {self.table.name} "  # noqa: S608 (names of our own)
            f'WHERE "{self.by}" {is_wanted} ORDER BY {quoted(self.order)}'
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
            return _read(self.table, self.columns, found.fetchall)
        rows = [row for value in wanted for row in driver(db).execute(self._one, [value]).fetchall()]
        return _read(self.table, self.columns, lambda: rows)

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
            f"SELECT {quoted(self.columns)} FROM {self.table.name} "  # noqa: S608 (names of our own)
            f'WHERE "{self.by}" = {value} ORDER BY {quoted(self.order)} LIMIT {self.most}'
        )


def looked_up_at_once(db: AnyConnection) -> AbstractContextManager[object]:
    """Lookups inside go to PostgreSQL in one round trip; SQLAlchemy can do nothing inside."""
    if is_postgresql(db) and not isinstance(db, IngestConnection):  # that is in a pipeline already
        pipeline: AbstractContextManager[object] = driver(db).pipeline()
        return pipeline
    return nullcontext()


def _read(
    table: Table, columns: tuple[str, ...], fetch: Callable[[], Sequence[Any]]
) -> Iterator[dict[str, Any]]:
    """What `fetch` gives is asked for with the first row."""
    converted = conversions(table, columns, read_back, _from_json)
    for values in fetch():
        row = dict(zip(columns, values, strict=True))
        for _, name, convert in converted:
            if row[name] is not None:
                row[name] = convert(row[name])
        yield row


def _from_json(value: Any) -> Any:
    return read_json(value) if isinstance(value, str) else value  # psycopg has read it already
