"""What the watch found out about sessions, in rows of its own: no callback's transaction touches them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column

from service.domain.overdue import NOTHING, Overdue, OverdueKind, Watched
from service.store.columns import read_back
from service.store.watch_tables import session_watch

NAMES: Final = (
    *("overdue_kind", "overdue_since", "overdue_why", "call_status", "call_checked_at"),
    *("presumed_ended_at", "presumed_why"),
)
_TIMES: Final = ("overdue_since", "call_checked_at", "presumed_ended_at")
_NOTHING: Final = (None,) * len(NAMES)
COLUMNS: Final[tuple[Column[Any], ...]] = tuple(session_watch.c[name] for name in NAMES)


def read(row: Mapping[Any, Any]) -> Watched:
    """Of a row that has COLUMNS, all of them null where nothing was found out."""
    if row["overdue_kind"] is row["call_checked_at"] is row["presumed_ended_at"] is None:
        return NOTHING
    kind = row["overdue_kind"]
    return Watched(
        overdue=kind and Overdue(OverdueKind(kind), row["overdue_since"], row["overdue_why"]),
        **{name: row[name] for name in NAMES if not name.startswith("overdue_")},
    )


def of(values: Sequence[Any]) -> Watched:
    """Of what a driver makes of COLUMNS."""
    if values == _NOTHING:
        return NOTHING
    row = dict(zip(NAMES, values, strict=True))
    return read(row | {name: read_back(row[name]) for name in _TIMES if row[name] is not None})


def row(session_id: str, requested_at: datetime, watched: Watched) -> dict[str, Any]:
    overdue = watched.overdue
    return {
        "session_id": session_id,
        "requested_at": requested_at,
        "overdue_kind": overdue and overdue.kind,
        "overdue_since": overdue and overdue.since,
        "overdue_why": overdue and overdue.why,
        **{name: getattr(watched, name) for name in NAMES if not name.startswith("overdue_")},
    }
