"""Sessions are listed, narrowed by a filter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    and_,
    func,
    select,
    text,
    tuple_,
    union_all,
)

from service.domain.access import Accounts
from service.domain.overdue import OverdueKind
from service.domain.session import Session
from service.domain.state import State
from service.store import session_rows
from service.store.accounts import sees_session
from service.store.sessions import select_sessions
from service.store.tables import IS_NOT_STOPPED, session, session_label
from service.store.watch_tables import session_watch

MANY = 1_000  # sessions of a label: which of two has more is not counted any further


@dataclass(frozen=True)
class Filter:
    """What a list of sessions is narrowed to; all that is set must fit, of `states` any.

    `labels` are (name, value).
    """

    states: frozenset[State] = frozenset()
    call_sid: str | None = None
    account_sid: str | None = None
    connector_name: str | None = None
    reference: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    requested_after: datetime | None = None
    requested_before: datetime | None = None
    overdue: OverdueKind | bool | None = None  # true: of any kind

    @property
    def is_narrow(self) -> bool:
        """An index other than that of the accounts leads to what is wanted."""
        names = (self.call_sid, self.account_sid, self.connector_name, self.reference)
        return any(names) or bool(self.labels) or self.is_not_stopped or bool(self.overdue)

    @property
    def is_not_stopped(self) -> bool:
        return bool(self.states) and State.STOPPED not in self.states


def page(
    db: Connection, wanted: Filter, accounts: Accounts, before: tuple[datetime, str] | None, limit: int
) -> list[Session]:
    """Of these accounts, the newest first. `before` is (requested_at, id) of the last one already seen."""
    wanted = rarest_label_first(db, wanted)
    ids = select(newest(wanted, accounts, limit, before=before).subquery().c.id)
    # Joined only to those that are shown, however few the planner takes the others for.
    query = select_sessions().where(session.c.id.in_(ids))
    ordered = query.order_by(session.c.requested_at.desc(), session.c.id.desc())
    return [session_rows.session(row) for row in db.execute(ordered).mappings()]


def rarest_label_first(db: Connection, wanted: Filter) -> Filter:
    """The same, but first is the label that fewest have: its sessions are looked through for the others."""
    if len(wanted.labels) < 2:
        return wanted
    return replace(wanted, labels=tuple(sorted(wanted.labels, key=lambda one: _count_label(db, *one))))


def _count_label(db: Connection, name: str, value: str) -> int:
    its = (session_label.c.name == name, session_label.c.value == value)
    found = select(session_label.c.session_id).where(*its).limit(MANY).subquery()
    return db.execute(select(func.count()).select_from(found)).scalar_one()


def newest(
    wanted: Filter,
    accounts: Accounts,
    most: int,
    *columns: ColumnElement[Any],
    before: tuple[datetime, str] | None = None,
) -> Select[Any]:
    """Selects requested_at, id and these columns of the `most` newest that a list would show."""
    parts = list(_parts(wanted, accounts))
    place = select(session.c.requested_at, session.c.id, *columns)
    if len(parts) == 1:
        return _page(place.where(sees_session(accounts)), wanted, before, most)
    of_each = [_page(place.where(sees_session(own)), part, before, most).subquery() for part, own in parts]
    of_all = union_all(*map(select, of_each)).subquery()
    return select(of_all).order_by(of_all.c.requested_at.desc(), of_all.c.id.desc()).limit(most)


def _parts(wanted: Filter, accounts: Accounts) -> Iterator[tuple[Filter, Accounts]]:
    """Of one state, account and kind of overdue each, where no index has several in the order of the list.

    Asked for at once, they would all be sorted, or all looked through.
    """
    every_kind: list[OverdueKind | bool | None] = [*OverdueKind]
    kinds = every_kind if wanted.overdue is True else [wanted.overdue]
    every_state = [frozenset({state}) for state in sorted(wanted.states)] or [wanted.states]
    for states, kind in product(every_state, kinds):
        part = replace(wanted, states=states, overdue=kind)
        if accounts is None or len(accounts) < 2 or part.is_narrow:
            yield part, accounts
        else:
            yield from ((part, frozenset({account_sid})) for account_sid in sorted(accounts))


def _page(query: Select[Any], wanted: Filter, before: tuple[datetime, str] | None, limit: int) -> Select[Any]:
    query = query.where(session.c.merged_into.is_(None), *_conditions(wanted))
    newest = (session.c.requested_at, session.c.id)
    if wanted.overdue is not None:
        query, newest = _overdue(query, wanted.overdue, newest)
    if wanted.labels:  # its index is in this order too
        (name, value), *others = wanted.labels
        query = query.join(session_label, session_label.c.session_id == session.c.id)
        query = query.where(session_label.c.name == name, session_label.c.value == value)
        query = query.where(*(_has_label(name, value) for name, value in others))
        newest = (session_label.c.requested_at, session_label.c.session_id)
    if before is not None:
        query = query.where(tuple_(*newest) < before)
    return query.order_by(*(column.desc() for column in newest)).limit(limit)


def _overdue(
    query: Select[Any], kind: OverdueKind | bool, newest: tuple[Column[Any], Column[Any]]
) -> tuple[Select[Any], tuple[Column[Any], Column[Any]]]:
    """And in which order an index has them: few are overdue."""
    found = session_watch.alias()
    if not kind:
        is_so = found.select().where(found.c.session_id == session.c.id, found.c.overdue_kind.is_not(None))
        return query.where(~is_so.exists()), newest
    query = query.join(found, found.c.session_id == session.c.id).where(found.c.overdue_kind == kind)
    return query, (found.c.requested_at, found.c.session_id)


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    equal = ("call_sid", "account_sid", "connector_name", "reference")
    found = [session.c[n] == getattr(wanted, n) for n in equal if getattr(wanted, n) is not None]
    found += [session.c.state == state for state in wanted.states]  # of a part, one at most
    if wanted.is_not_stopped:
        found.append(and_(text(IS_NOT_STOPPED)))  # or SQLite does not see that the index will do
    if wanted.requested_after is not None:
        found.append(session.c.requested_at > wanted.requested_after)
    if wanted.requested_before is not None:
        found.append(session.c.requested_at < wanted.requested_before)
    return found


def _has_label(name: str, value: str) -> ColumnElement[bool]:
    """Looked up for one session of the first label after the other, until enough are found: few, where labels
    are usual together; all, where they never are.

    Without the offset, PostgreSQL would join all that have the one label with all that have the other: it
    takes labels to be independent of each other, and so to be on few sessions together.
    """
    label = session_label.alias()
    return (
        select(label.c.session_id)
        .where(label.c.session_id == session_label.c.session_id, label.c.name == name, label.c.value == value)
        .offset(0)
        .exists()
    )
