"""The sessions that alerts are, or may soon be, about."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from service.domain.alerts import LIVE, Subject
from service.domain.overdue import LIVE_STATUSES, UNKNOWN, OverdueKind
from service.domain.session import Session
from service.domain.state import State
from service.store import session_rows, sessions
from service.store.alerts import is_of, values_of
from service.store.processes import now_of
from service.store.tables import event, session
from service.store.watch_tables import alert, alert_case, session_watch

FAILURES: Final = (State.REFUSED, State.UNANSWERED, State.FAILED)
MOST_EVENTS: Final = 5000  # looked at together
MOST_CASES: Final = 200  # found together
OF_LATE: Final = timedelta(days=1)  # what is overdue for longer is told by lists; nobody can act on it now
MOST_STARTED: Final = 200  # counted: what matters is whether few failures are many of them

# Once an alert says that a call goes on unrecorded, it says so until that is over: also where what was
# certain cannot be known for a while.
_was_urgent: Final = (
    select(alert_case.c.session_id)
    .where(alert_case.c.session_id == session_watch.c.session_id, alert_case.c.cause == LIVE.code)
    .exists()
)
is_unknown: Final[ColumnElement[bool]] = and_(session_watch.c.overdue_why.like(f"{UNKNOWN}%"), ~_was_urgent)
is_call_live: Final[ColumnElement[bool]] = func.coalesce(session_watch.c.call_status, "").in_(
    sorted(LIVE_STATUSES)
)

_case: Final = alert_case.c
_connector: Final = func.coalesce(session.c.connector_name, "")
_WATCHED: Final = session_watch.join(session, session.c.id == session_watch.c.session_id)


@dataclass(frozen=True)
class Case:
    """A session that an alert may be about."""

    session_id: str
    subject: Subject


@dataclass(frozen=True)
class OverdueGroup:
    """Sessions that are overdue for the same reason; `example` is the id of one."""

    kind: OverdueKind
    is_unknown: bool
    is_call_live: bool
    connector_name: str
    account_sid: str
    count: int
    example: str


def failures(db: Connection, after: int, until: int, written_since: datetime) -> list[str]:
    """The ids of sessions that failed in events of these positions, MOST_EVENTS at most."""
    query = select(event.c.subject_id).where(event.c.position > after, event.c.position <= until)
    query = query.where(event.c.state.in_(FAILURES))  # which only events of sessions have
    return list(dict.fromkeys(db.scalars(query.where(event.c.written_at >= written_since))))


def failed_sessions(db: Connection, ids: Collection[str]) -> list[Session]:
    rows = db.execute(sessions.select_sessions().where(session.c.id.in_(ids))).mappings()
    return [session_rows.session(row) for row in rows]


def overdue_groups(db: Connection) -> list[OverdueGroup]:
    row = session_watch.c
    parts = (row.overdue_kind, is_unknown, is_call_live, _connector, session.c.account_sid)
    query = select(*parts, func.count(), func.max(row.session_id)).select_from(_WATCHED)
    of_late = row.overdue_since >= now_of(db) - OF_LATE
    rows = db.execute(query.where(row.overdue_kind.is_not(None), of_late).group_by(*parts))
    return [
        OverdueGroup(OverdueKind(kind), bool(unknown), bool(live), *others)
        for kind, unknown, live, *others in rows
    ]


def overdue_ids(db: Connection, group: OverdueGroup, cause: str) -> list[str]:
    """Those of this group that are no cases of that cause yet, MOST_CASES at most."""
    row = session_watch.c
    is_case = (
        select(_case.session_id).where(_case.session_id == row.session_id, _case.cause == cause).exists()
    )
    query = select(row.session_id).select_from(_WATCHED)
    query = query.where(row.overdue_kind == group.kind, row.overdue_kind.is_not(None), ~is_case)
    query = query.where(row.overdue_since >= now_of(db) - OF_LATE)
    query = query.where(is_unknown == group.is_unknown, is_call_live == group.is_call_live)
    query = query.where(_connector == group.connector_name, session.c.account_sid == group.account_sid)
    return list(db.scalars(query.limit(MOST_CASES)))


def add_cases(db: Connection, cases: Sequence[Case], found_at: datetime) -> list[Case]:
    """Those that are new; each counts for the open alert that it belongs to."""
    make: Any = postgresql.insert if db.dialect.name == "postgresql" else sqlite.insert
    new = []
    for case in cases:
        values = {"session_id": case.session_id, **values_of(case.subject), "found_at": found_at}
        if db.execute(make(alert_case).values(values).on_conflict_do_nothing()).rowcount:
            new.append(case)
            is_its = and_(is_of(case.subject), alert.c.ended_at.is_(None))
            db.execute(update(alert).where(is_its).values(total=alert.c.total + 1))
    return new


def recent_cases(db: Connection, since: datetime) -> dict[Subject, tuple[int, str]]:
    """How many came since, and one of them, a session's id."""
    parts = (_case.cause, _case.connector_name, _case.account_sid)
    query = select(*parts, func.count(), func.max(_case.session_id)).where(_case.found_at >= since)
    return {Subject(*row[:3]): (row[3], row[4]) for row in db.execute(query.group_by(*parts))}


def count_cases(db: Connection, subject: Subject) -> int:
    """Those that no earlier alert has counted."""
    ended = select(func.max(alert.c.ended_at)).where(is_of(subject)).scalar_subquery()
    query = select(func.count()).select_from(alert_case)
    is_its = and_(*(alert_case.c[name] == text for name, text in values_of(subject).items()))
    return db.execute(query.where(is_its, or_(ended.is_(None), _case.found_at > ended))).scalar_one()


def started(db: Connection, subject: Subject, since: datetime) -> int:
    """How many sessions of its connector and account were asked for since; MOST_STARTED at most."""
    connector = subject.connector_name or None
    query = select(session.c.id).where(session.c.requested_at >= since)
    query = query.where(session.c.connector_name == connector, session.c.account_sid == subject.account_sid)
    return db.execute(select(func.count()).select_from(query.limit(MOST_STARTED).subquery())).scalar_one()


def old_cases(db: Connection, before: datetime) -> list[tuple[str, str]]:
    """Cases that count for nothing any more, MOST_CASES at most: not of sessions that are overdue still."""
    is_overdue = select(session_watch.c.session_id).where(
        session_watch.c.session_id == _case.session_id, session_watch.c.overdue_kind.is_not(None)
    )
    query = select(_case.session_id, _case.cause).where(_case.found_at < before, ~is_overdue.exists())
    return [(row.session_id, row.cause) for row in db.execute(query.limit(MOST_CASES))]


def delete_cases(db: Connection, cases: Collection[tuple[str, str]]) -> None:
    for session_id, cause in cases:
        db.execute(delete(alert_case).where(_case.session_id == session_id, _case.cause == cause))
