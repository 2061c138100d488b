"""Parquet: rows in groups, and a footer without which no reader opens the file."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import pyarrow
from pyarrow import parquet

from service.store.report_views import Kind, Plain, Row, View

ROWS_IN_A_GROUP: Final = 20_000
TYPES: Final[Mapping[Kind, Any]] = {
    Kind.TEXT: pyarrow.string(),
    Kind.TIME: pyarrow.timestamp("us", tz="UTC"),
    Kind.DAY: pyarrow.date32(),
    Kind.WHOLE: pyarrow.int64(),
    Kind.NUMBER: pyarrow.float64(),
    Kind.TRUTH: pyarrow.bool_(),
    Kind.LABELS: pyarrow.string(),  # JSON
}
READS: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    Kind.TIME: datetime.fromisoformat,
    Kind.DAY: date.fromisoformat,
}


class Parquet:
    """A `formats.Format`. Its metadata say how many rows it has, and up to which position all is in it."""

    def __init__(self, view: View) -> None:
        self._kinds = [view.kind(name) for name in view.columns]
        columns = zip(view.columns, self._kinds, strict=True)
        self._schema = pyarrow.schema([(name, TYPES[kind]) for name, kind in columns])
        self._made = _Made()
        self._writer = parquet.ParquetWriter(pyarrow.PythonFile(self._made, mode="w"), self._schema)
        self._waiting: list[Row] = []

    def begin(self) -> bytes:
        return self._made.take()

    def rows(self, rows: Sequence[Row]) -> bytes:
        self._waiting += rows
        if len(self._waiting) >= ROWS_IN_A_GROUP:
            self._write()
        return self._made.take()

    def end(self, count: int, position: int) -> bytes:
        if self._waiting:
            self._write()
        self._writer.add_key_value_metadata({"rows": str(count), "position": str(position)})
        self._writer.close()
        return self._made.take()

    def broken_off(self, _count: int, _why: str) -> bytes:
        """Without a footer: what was written cannot be read."""
        return b""

    def _write(self) -> None:
        columns = zip(zip(*self._waiting, strict=True), self._kinds, self._schema, strict=True)
        arrays = [pyarrow.array(_read(values, kind), field.type) for values, kind, field in columns]
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))
        self._waiting = []


def _read(values: Sequence[Plain], kind: Kind) -> list[Any]:
    read = READS.get(kind)
    return list(values) if read is None else [None if one is None else read(one) for one in values]


class _Made(io.RawIOBase):
    """A file that is taken away as it grows."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = bytearray()
        self._taken = 0

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self._bytes += part
        return len(part)

    def tell(self) -> int:
        return self._taken + len(self._bytes)

    def take(self) -> bytes:
        taken, self._bytes = bytes(self._bytes), bytearray()
        self._taken += len(taken)
        return taken
