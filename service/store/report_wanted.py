"""What a report is narrowed to, and which sessions that leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, FromClause, select

from service.domain.state import State
from service.store.tables import session, session_label

UTC_NAME: Final = "UTC"


@dataclass(frozen=True)
class Wanted:
    """All that is set must fit, of `states` any; `until` is the first moment that is not in it.

    `labels` are (name, value). `zone` is that of days, as the IANA database names it.
    """

    since: datetime | None = None
    until: datetime | None = None
    account_sid: str | None = None
    connector_name: str | None = None
    states: frozenset[State] = frozenset()
    reference: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    zone: str = UTC_NAME
    up_to: int | None = None  # the last position, of reports that are in the order of positions

    @property
    def is_narrow(self) -> bool:
        """An index leads to the few sessions that are wanted."""
        return self.reference is not None or bool(self.labels)

    @property
    def narrows_sessions(self) -> bool:
        """By more than their account."""
        return self.is_narrow or self.connector_name is not None or bool(self.states)


def of_session(wanted: Wanted, session_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """That the session with this id fits, whatever its account.

    Where few do they are looked up first, else each row's session is: the rows stay in the order of their
    index.
    """
    fitting = select(session.c.id).where(*narrowed(session, session.c.id, wanted))
    if wanted.is_narrow:
        return session_id.in_(fitting)
    return fitting.where(session.c.id == session_id).exists()


def narrowed(
    sessions: FromClause, session_id: ColumnElement[Any], wanted: Wanted
) -> Iterator[ColumnElement[bool]]:
    """Of the table or the view of sessions, those that fit, whatever their account and their time."""
    if wanted.connector_name is not None:
        yield sessions.c.connector_name == wanted.connector_name
    if wanted.states:
        yield sessions.c.state.in_(sorted(wanted.states))
    if wanted.reference is not None:
        yield sessions.c.reference == wanted.reference
    for name, value in wanted.labels:
        of_label = (session_label.c.name == name, session_label.c.value == value)
        yield session_id.in_(select(session_label.c.session_id).where(*of_label))
