"""What was numbered lately: whom each event concerns, for readers that wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, and_, bindparam, select

from service.store.events import SESSION, EventKind
from service.store.tables import event, session

MOST_AT_ONCE: Final = 1000


@dataclass(frozen=True)
class Numbered:
    """The event at `position`; the rest is of its session, as it stood after the event, if it is of one."""

    position: int
    session_id: str | None
    account_sid: str | None
    connector_name: str | None
    state: str | None = None
    kind: str = EventKind.CHANGED


def after(db: Connection, position: int) -> Sequence[Numbered]:
    """The next ones in their order, MOST_AT_ONCE at most."""
    return [Numbered(*row) for row in db.execute(_AFTER, {"after": position})]


_AFTER: Final = (
    select(
        event.c.position,
        *(session.c.id, event.c.account_sid, session.c.connector_name),
        *(event.c.state, event.c.kind),
    )
    .select_from(
        event.outerjoin(session, and_(event.c.subject_kind == SESSION, session.c.id == event.c.subject_id))
    )
    .where(event.c.position > bindparam("after"))
    .order_by(event.c.position)
    .limit(MOST_AT_ONCE)
)
