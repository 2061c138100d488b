"""Texts of others in a spreadsheet: shown, never computed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

BEGINS: Final = "=+-@\t\r\n＝＋－＠"
FORMULA: Final = re.compile(rf"(^|[;,\r\n]\s*)(?=[{re.escape(BEGINS)}])")


def no_formula(text: str) -> str:
    """For a cell: a spreadsheet takes it for text, whatever it begins with.

    Where lists are separated by semicolons, one would part it there, and then at a line's end, too.
    """
    return FORMULA.sub(r"\1'", text) if _may_be_formula([text]) else text


def without_formulas(texts: Sequence[str | None]) -> Sequence[str | None]:
    """`no_formula` of each. Of most columns none has any, which is found for all at once."""
    found = [text for text in texts if text]
    return [text and no_formula(text) for text in texts] if _may_be_formula(found) else texts


def _may_be_formula(texts: Sequence[str]) -> bool:
    """Of any of them; an expression would take ten times as long to say so."""
    if not _BEGINS.isdisjoint([text[:1] for text in texts]):
        return True
    joined = "\0".join(texts)
    return any(sign in joined for sign in ";\r\n") or joined.count(",") != joined.count(
        ',"'
    )  # what JSON has between its members


_BEGINS: Final = frozenset(BEGINS)
