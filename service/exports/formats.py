"""CSV and NDJSON: rows as bytes, with a last line that says whether they are all."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from service.exports import csv_columns
from service.store.report_views import Kind, Plain, Row, View

BYTE_ORDER_MARK: Final = "\ufeff"  # or a spreadsheet may take UTF-8 for something else
CSV: Final = "csv"
NDJSON: Final = "ndjson"


class Format(Protocol):
    """Each of these gives whole lines."""

    def begin(self) -> bytes: ...

    def rows(self, rows: Sequence[Row]) -> bytes: ...

    def end(self, count: int, position: int) -> bytes:
        """All is there: so many rows, with all that the ledger knew up to that position of its feed."""
        ...

    def broken_off(self, count: int, why: str) -> bytes:
        """After so many rows."""
        ...


class Csv:
    """RFC 4180. No cell of text is a formula, and a byte order mark is in front, unless it is `exact`.

    Null is an empty cell; so is an empty text.
    """

    def __init__(self, view: View, *, exact: bool = False) -> None:
        self._view = view
        self._kinds = [view.kind(name) for name in view.columns]
        self._exact = exact

    def begin(self) -> bytes:
        return ("" if self._exact else BYTE_ORDER_MARK).encode() + csv_of([self._view.columns])

    def rows(self, rows: Sequence[Row]) -> bytes:
        columns = zip(self._kinds, zip(*rows, strict=True), strict=False)  # without rows there are none
        made = [csv_columns.cells(kind, values, exact=self._exact) for kind, values in columns]
        return csv_columns.lines(made).encode()

    def end(self, count: int, position: int) -> bytes:
        return csv_of([[f"# rows: {count}, up to position {position}"]])

    def broken_off(self, count: int, why: str) -> bytes:
        return csv_of([[f"# failed after rows: {count}, the rest is missing: {why}"]])


def csv_of(rows: Iterable[Sequence[Plain]]) -> bytes:
    """Cell by cell, of what is not read by columns."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


class Ndjson:
    """An object for each row, with all columns; labels are an object in it. The last one has `end` alone."""

    def __init__(self, view: View) -> None:
        self._columns = view.columns
        self._labels = [name for name in view.columns if view.kind(name) is Kind.LABELS]
        self._encode = msgspec.json.Encoder().encode

    def begin(self) -> bytes:
        return b""

    def rows(self, rows: Sequence[Row]) -> bytes:
        return b"".join(b"%b\n" % one for one in self.objects(rows))

    def objects(self, rows: Sequence[Row]) -> list[bytes]:
        """JSON of each."""
        return [self._encode(self._object(row)) for row in rows]

    def end(self, count: int, position: int) -> bytes:
        return self._last({"complete": True, "rows": count, "position": position})

    def broken_off(self, count: int, why: str) -> bytes:
        return self._last({"complete": False, "rows": count, "why": why})

    def _object(self, row: Row) -> dict[str, Any]:
        made: dict[str, Any] = dict(zip(self._columns, row, strict=True))
        for name in self._labels:
            if (text := made[name]) is not None:
                made[name] = msgspec.Raw(text)
        return made

    def _last(self, said: dict[str, Any]) -> bytes:
        return self._encode({"end": said}) + b"\n"


def of(name: str, view: View, *, exact: bool) -> Format:
    made: dict[str, Callable[[], Format]] = {
        CSV: lambda: Csv(view, exact=exact),
        NDJSON: lambda: Ndjson(view),
    }
    return made[name]()
