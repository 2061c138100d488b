"""What the watch found out about sessions, in rows of its own: no callback's transaction touches them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, Connection
from sqlalchemy.dialects import postgresql, sqlite

from service.domain.overdue import NOTHING, Overdue, OverdueKind, Watched
from service.store.watch_tables import session_watch

_NAMES: Final = (
    *("overdue_kind", "overdue_since", "overdue_why", "call_status", "call_checked_at"),
    *("presumed_ended_at", "presumed_why"),
)
COLUMNS: Final[tuple[Column[Any], ...]] = tuple(session_watch.c[name] for name in _NAMES)


def read(row: Mapping[Any, Any]) -> Watched:
    """Of a row that has COLUMNS, all of them null where nothing was found out."""
    if row["overdue_kind"] is row["call_checked_at"] is row["presumed_ended_at"] is None:
        return NOTHING
    kind = row["overdue_kind"]
    return Watched(
        overdue=kind and Overdue(OverdueKind(kind), row["overdue_since"], row["overdue_why"]),
        **{name: row[name] for name in _NAMES if not name.startswith("overdue_")},
    )


def save(db: Connection, found: Sequence[dict[str, Any]]) -> None:
    """Each is what `row` makes."""
    if found:
        db.execute(_ON_POSTGRESQL if db.dialect.name == "postgresql" else _ON_SQLITE, found)


def row(session_id: str, requested_at: object, watched: Watched) -> dict[str, Any]:
    overdue = watched.overdue
    return {
        "session_id": session_id,
        "requested_at": requested_at,
        "overdue_kind": overdue and overdue.kind,
        "overdue_since": overdue and overdue.since,
        "overdue_why": overdue and overdue.why,
        **{name: getattr(watched, name) for name in _NAMES if not name.startswith("overdue_")},
    }


def _upsert(dialect: Any) -> Any:
    statement = dialect.insert(session_watch)
    return statement.on_conflict_do_update(
        index_elements=["session_id"], set_={name: statement.excluded[name] for name in _NAMES}
    )


_ON_POSTGRESQL: Final = _upsert(postgresql)
_ON_SQLITE: Final = _upsert(sqlite)
