"""Sessions are listed, narrowed by a filter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, select, text, tuple_

from service.domain.session import Session
from service.domain.state import State
from service.store import session_rows
from service.store.sessions import select_sessions
from service.store.tables import IS_NOT_STOPPED, session, session_label


@dataclass(frozen=True)
class Filter:
    """What a list of sessions is narrowed to; all that is set must fit. `labels` are (name, value)."""

    state: State | None = None
    call_sid: str | None = None
    account_sid: str | None = None
    connector_name: str | None = None
    reference: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    requested_after: datetime | None = None
    requested_before: datetime | None = None


def page(db: Connection, wanted: Filter, before: tuple[datetime, str] | None, limit: int) -> list[Session]:
    """The newest first. `before` is (requested_at, id) of the last one already seen."""
    query = select_sessions().where(session.c.merged_into.is_(None), *_conditions(wanted))
    newest = (session.c.requested_at, session.c.id)
    if wanted.labels:  # its index is in this order too
        (name, value), *others = wanted.labels
        query = query.join(session_label, session_label.c.session_id == session.c.id)
        query = query.where(session_label.c.name == name, session_label.c.value == value)
        query = query.where(*(_has_label(name, value) for name, value in others))
        newest = (session_label.c.requested_at, session_label.c.session_id)
    if before is not None:
        query = query.where(tuple_(*newest) < before)
    query = query.order_by(*(column.desc() for column in newest)).limit(limit)
    return [session_rows.session(row) for row in db.execute(query).mappings()]


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    equal = ("state", "call_sid", "account_sid", "connector_name", "reference")
    found = [session.c[n] == getattr(wanted, n) for n in equal if getattr(wanted, n) is not None]
    if wanted.state not in (None, State.STOPPED):
        found.append(and_(text(IS_NOT_STOPPED)))  # or SQLite does not see that the index will do
    if wanted.requested_after is not None:
        found.append(session.c.requested_at > wanted.requested_after)
    if wanted.requested_before is not None:
        found.append(session.c.requested_at < wanted.requested_before)
    return found


def _has_label(name: str, value: str) -> ColumnElement[bool]:
    label = session_label.alias()
    return (
        select(label.c.session_id)
        .where(label.c.session_id == session.c.id, label.c.name == name, label.c.value == value)
        .exists()
    )
