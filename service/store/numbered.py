"""What was numbered lately: whom each event concerns, for readers that wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from service.store.engine import driver, is_postgresql
from service.store.events import SESSION, EventKind

MOST_AT_ONCE: Final = 1000
_AFTER: Final = (
    "SELECT event.position, session.id, event.account_sid, session.connector_name, "  # noqa: S608
    "event.state, event.kind "
    f"FROM event LEFT JOIN session ON event.subject_kind = '{SESSION}' AND session.id = event.subject_id "
    "WHERE event.position > {p} ORDER BY event.position LIMIT {p}"
)


class Numbered(NamedTuple):
    """The event at `position`; the rest is of its session, as it stood after the event, if it is of one."""

    position: int
    session_id: str | None
    account_sid: str | None
    connector_name: str | None
    state: str | None = None
    kind: str = EventKind.CHANGED


def after(db: Connection, position: int) -> Sequence[Numbered]:
    """The next ones in their order, MOST_AT_ONCE at most."""
    text = _AFTER.format(p="%s" if is_postgresql(db) else "?")
    found: Any = driver(db).execute(text, [position, MOST_AT_ONCE])
    return [Numbered._make(row) for row in found.fetchall()]
