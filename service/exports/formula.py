"""Texts of others in a spreadsheet: shown, never computed."""

from __future__ import annotations

import re
from typing import Final

BETWEEN: Final = "\0"  # texts that are looked at together
BEGINS: Final = "=+-@\t\r\n＝＋－＠"
FORMULA: Final = re.compile(rf"(^|[;,\r\n]\s*)(?=[{re.escape(BEGINS)}])")


def no_formula(text: str) -> str:
    """For a cell: a spreadsheet takes it for text, whatever it begins with.

    Where lists are separated by semicolons, one would part it there, and then at a line's end, too.
    """
    return FORMULA.sub(r"\1'", text) if may_be_formula(text) else text


def may_be_formula(texts: str) -> bool:
    """Whether any of them, with BETWEEN between, has to be looked at more closely.

    An expression would take ten times as long to say so.
    """
    if texts[:1] in _BEGINS or any(BETWEEN + sign in texts for sign in BEGINS):
        return True
    return any(sign in texts for sign in ";\r\n") or texts.count(",") != texts.count(
        ',"'
    )  # what JSON has between its members


_BEGINS: Final = frozenset(BEGINS)
