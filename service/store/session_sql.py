"""The SQL that shows what a list of sessions shows, for whoever may read the reporting views."""

from __future__ import annotations

from typing import Final

from service.domain.access import Accounts
from service.domain.overdue import OverdueKind
from service.store.columns import written_out
from service.store.session_lists import Filter

VIEW: Final = "report_sessions_v1"
# Of the view, those that say most; an export has the same, in this order.
COLUMNS: Final = (
    *("session_id", "state", "origin", "account_sid", "call_sid", "siprec_sid", "callback_siprec_sid"),
    *("connector_name", "name", "reference", "labels", "requested_by", "requested_at", "accepted_at"),
    *("started_at", "ended_at", "stop_requested_at", "stop_requested_by", "error_kind", "error_detail"),
    *("overdue_kind", "overdue_since", "overdue_why", "presumed_ended_at", "presumed_why"),
)
NAMES_IN_A_LINE: Final = 6


def of(wanted: Filter, accounts: Accounts, limit: int, *, is_sqlite: bool) -> str:
    """One statement, to be run as it is: it has no parameters, and all of its characters are visible.

    The newest `limit` of what fits, in the order of the list.
    """
    char = "char" if is_sqlite else "chr"
    conditions = _conditions(wanted, accounts, char)
    where = "\nWHERE " + "\n  AND ".join(conditions) if conditions else ""
    rows = [COLUMNS[at : at + NAMES_IN_A_LINE] for at in range(0, len(COLUMNS), NAMES_IN_A_LINE)]
    names = ",\n       ".join(", ".join(row) for row in rows)
    order = "ORDER BY requested_at DESC, session_id DESC"
    return f"SELECT {names}\nFROM {VIEW}{where}\n{order}\nLIMIT {limit}"


def _conditions(wanted: Filter, accounts: Accounts, char: str) -> list[str]:
    found = []
    if wanted.states:
        found.append(_one_of("state", sorted(wanted.states), char))
    equal = {
        name: getattr(wanted, name) for name in ("call_sid", "account_sid", "connector_name", "reference")
    }
    found += [f"{name} = {quoted(value, char)}" for name, value in equal.items() if value is not None]
    found += [f"{_label(name, char)} = {quoted(value, char)}" for name, value in wanted.labels]
    if wanted.requested_after is not None:
        found.append(f"requested_at > {quoted(written_out(wanted.requested_after), char)}")
    if wanted.requested_before is not None:
        found.append(f"requested_at < {quoted(written_out(wanted.requested_before), char)}")
    if isinstance(wanted.overdue, OverdueKind):
        found.append(f"overdue_kind = {quoted(wanted.overdue, char)}")
    elif wanted.overdue is not None:
        found.append(f"overdue_since IS {'NOT ' if wanted.overdue else ''}NULL")
    if accounts is not None:
        found.append(_one_of("account_sid", sorted(accounts), char) if accounts else "1 = 0")
    return found


def _label(name: str, char: str) -> str:
    """SQLite's ->> takes a name with dots, or of digits, for a path."""
    if char == "char":
        path = f'$."{name}"'
        return f"json_extract(labels, {_literal(path)})"
    return f"labels ->> {quoted(name, char)}"


def _one_of(name: str, values: list[str], char: str) -> str:
    if len(values) == 1:
        return f"{name} = {quoted(values[0], char)}"
    return f"{name} IN ({', '.join(quoted(value, char) for value in values)})"


def quoted(text: str, char: str) -> str:
    """A literal. What cannot be seen, or turns the line around, is spelled out by its number."""
    parts, run = [], ""
    for one in text:
        if one.isprintable():
            run += one
        else:
            parts += [*([_literal(run)] if run else []), f"{char}({ord(one)})"]
            run = ""
    if run or not parts:
        parts.append(_literal(run))
    return parts[0] if len(parts) == 1 else f"({' || '.join(parts)})"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
