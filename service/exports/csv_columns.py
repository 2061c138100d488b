"""CSV by columns, as RFC 4180 has it: a page takes half of what csv.writer takes, cell by cell.

Whether any cell of a column needs quotes, or may be a formula, is found for all of them at once; of most
columns none does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from service.exports.formula import BETWEEN, may_be_formula, no_formula
from service.store.report_views import Kind, Plain

QUOTED: Final = '",\r\n'  # a cell with any of these
TRUTHS: Final = {True: "true", False: "false", None: ""}

Cells = Sequence[str]


def lines(columns: Sequence[Cells]) -> str:
    """Of columns of the same length, more than one."""
    return "".join([f"{line}\r\n" for line in map(",".join, zip(*columns, strict=True))])


def cells(kind: Kind, values: Sequence[Plain], *, exact: bool) -> Cells:
    """Of one column. Null is an empty cell; unless it is `exact`, no text is a formula."""
    if kind in (Kind.TEXT, Kind.LABELS):
        return _texts(values, exact=exact)
    return _OF_KIND[kind](values)


def _texts(values: Sequence[Any], *, exact: bool) -> Cells:
    made = [value or "" for value in values]
    joined = BETWEEN.join(made)
    if not exact and may_be_formula(joined):
        made = [no_formula(text) for text in made]
    if any(sign in joined for sign in QUOTED):
        made = [_quoted(text) for text in made]
    return made


def _quoted(text: str) -> str:
    if any(sign in text for sign in QUOTED):
        return '"' + text.replace('"', '""') + '"'
    return text


_OF_KIND: Final[Mapping[Kind, Callable[[Sequence[Any]], Cells]]] = {
    Kind.TIME: lambda values: [value or "" for value in values],
    Kind.DAY: lambda values: [value or "" for value in values],
    Kind.WHOLE: lambda values: ["" if value is None else str(value) for value in values],
    Kind.NUMBER: lambda values: ["" if value is None else repr(value) for value in values],
    Kind.TRUTH: lambda values: [TRUTHS[value] for value in values],
}
