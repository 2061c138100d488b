"""Alerts, the sessions that they are about, and which of their messages are to be sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from service.domain.access import Accounts
from service.domain.alerts import Figures, NoticeKind, Subject
from service.domain.overdue import CallStatus, OverdueKind
from service.domain.session import Session
from service.domain.state import State
from service.store import session_rows, sessions
from service.store.events import SESSION
from service.store.tables import event, session
from service.store.watch_tables import alert, alert_case, alert_watch, session_watch

FAILURES: Final = (State.REFUSED, State.UNANSWERED, State.FAILED)
LIVE: Final = tuple(status.value for status in CallStatus if not status.is_over)
MOST_EVENTS: Final = 5000  # looked at together
MOST_CASES: Final = 200  # found together
MOST_STARTED: Final = 200  # counted: what matters is whether few failures are many of them

is_unknown: Final[ColumnElement[bool]] = session_watch.c.overdue_why.like("unknown: %")
is_call_live: Final[ColumnElement[bool]] = func.coalesce(session_watch.c.call_status, "").in_(LIVE)


@dataclass(frozen=True)
class Alert:
    """Times are UTC. `affected` calls now, `total` since it was opened; `example` is a session's id.

    `notice` numbers its messages; `notice_at` is when the latest is to be tried, None once it is sent.
    """

    id: str
    cause: str
    connector_name: str
    account_sid: str
    opened_at: datetime
    updated_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    ended_at: datetime | None
    affected: int
    total: int
    example: str | None
    notice: int
    notice_kind: NoticeKind
    noticed_affected: int
    noticed_at: datetime
    notice_sent: int
    notice_tries: int
    notice_at: datetime | None

    @property
    def subject(self) -> Subject:
        return Subject(self.cause, self.connector_name, self.account_sid)


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


_COLUMNS: Final = [alert.c[field.name] for field in fields(Alert)]
_case = alert_case.c


def take_turn(db: Connection) -> int | None:
    """Up to where failures are cases. Nobody else evaluates until this transaction ends.

    None: somebody does.
    """
    query = select(alert_watch.c.position).with_for_update(skip_locked=True, key_share=True)
    found: int | None = db.scalar(query)
    return found


def position(db: Connection) -> int:
    found: int = db.execute(select(alert_watch.c.position)).scalar_one()
    return found


def move(db: Connection, to: int) -> None:
    db.execute(update(alert_watch).where(alert_watch.c.position < to).values(position=to))


def last_position(db: Connection) -> int:
    return int(db.scalar(select(func.max(event.c.position))) or 0)


def failures(db: Connection, after: int, until: int, written_since: datetime) -> list[str]:
    """The ids of sessions that failed in events of these positions, MOST_EVENTS at most."""
    query = select(event.c.subject_id).where(event.c.position > after, event.c.position <= until)
    query = query.where(event.c.subject_kind == SESSION, event.c.state.in_(FAILURES))
    return list(dict.fromkeys(db.scalars(query.where(event.c.written_at >= written_since))))


def failed_sessions(db: Connection, ids: Collection[str]) -> list[Session]:
    rows = db.execute(sessions.select_sessions().where(session.c.id.in_(ids))).mappings()
    return [session_rows.session(row) for row in rows]


def overdue_groups(db: Connection) -> list[OverdueGroup]:
    row = session_watch.c
    parts = (row.overdue_kind, is_unknown, is_call_live, _connector, session.c.account_sid)
    query = select(*parts, func.count(), func.max(row.session_id)).select_from(_WATCHED)
    rows = db.execute(query.where(row.overdue_kind.is_not(None)).group_by(*parts))
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
    query = query.where(is_unknown == group.is_unknown, is_call_live == group.is_call_live)
    query = query.where(_connector == group.connector_name, session.c.account_sid == group.account_sid)
    return list(db.scalars(query.limit(MOST_CASES)))


def add_cases(db: Connection, cases: Sequence[Case], found_at: datetime) -> list[Case]:
    """Those that are new; each counts for the open alert that it belongs to."""
    make: Any = postgresql.insert if db.dialect.name == "postgresql" else sqlite.insert
    new = []
    for case in cases:
        values = {"session_id": case.session_id, **_values(case.subject), "found_at": found_at}
        if db.execute(make(alert_case).values(values).on_conflict_do_nothing()).rowcount:
            new.append(case)
            is_its = and_(_is_of(case.subject), alert.c.ended_at.is_(None))
            db.execute(update(alert).where(is_its).values(total=alert.c.total + 1))
    return new


def recent_cases(db: Connection, since: datetime) -> dict[Subject, tuple[int, str]]:
    """How many came since, and one of them, a session's id."""
    parts = (_case.cause, _case.connector_name, _case.account_sid)
    query = select(*parts, func.count(), func.max(_case.session_id)).where(_case.found_at >= since)
    return {Subject(*row[:3]): (row[3], row[4]) for row in db.execute(query.group_by(*parts))}


def count_cases(db: Connection, subject: Subject) -> int:
    """Those that no earlier alert has counted."""
    ended = select(func.max(alert.c.ended_at)).where(_is_of(subject)).scalar_subquery()
    query = select(func.count()).select_from(alert_case)
    is_its = and_(*(alert_case.c[name] == text for name, text in _values(subject).items()))
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


def open_alerts(db: Connection) -> dict[Subject, Alert]:
    found = [_alert(row) for row in db.execute(select(*_COLUMNS).where(alert.c.ended_at.is_(None)))]
    return {one.subject: one for one in found}


def find(db: Connection, alert_id: str, accounts: Accounts, *, locks: bool = False) -> Alert | None:
    query = select(*_COLUMNS).where(alert.c.id == alert_id, _sees(accounts))
    row = db.execute(query.with_for_update(key_share=True) if locks else query).one_or_none()
    return None if row is None else _alert(row)


def page(
    db: Connection, accounts: Accounts, is_open: bool | None, before: tuple[datetime, str] | None, limit: int
) -> list[Alert]:
    """The newest first, those opened before that place."""
    query = select(*_COLUMNS).where(_sees(accounts))
    if is_open is not None:
        query = query.where(alert.c.ended_at.is_(None) if is_open else alert.c.ended_at.is_not(None))
    if before is not None:
        opened_at, alert_id = before
        earlier = and_(alert.c.opened_at == opened_at, alert.c.id < alert_id)
        query = query.where(or_(alert.c.opened_at < opened_at, earlier))
    query = query.order_by(alert.c.opened_at.desc(), alert.c.id.desc()).limit(limit)
    return [_alert(row) for row in db.execute(query)]


def add(db: Connection, new: Alert) -> None:
    db.execute(insert(alert).values({field.name: getattr(new, field.name) for field in fields(Alert)}))


def change(db: Connection, alert_id: str, values: Mapping[str, Any]) -> None:
    db.execute(update(alert).where(alert.c.id == alert_id).values(dict(values)))


def figures_now(db: Connection, alert_id: str, figures: Figures, now: datetime) -> None:
    """Without a message."""
    change(db, alert_id, {"affected": figures.affected, "example": figures.example, "updated_at": now})


def lease_notice(db: Connection, now: datetime, lease: timedelta) -> Alert | None:
    """One whose message is to be sent now; nobody else sends it before the lease is over."""
    due: Select[Any] = select(*_COLUMNS).where(alert.c.notice_at <= now).order_by(alert.c.notice_at).limit(1)
    row = db.execute(due.with_for_update(skip_locked=True, key_share=True)).one_or_none()
    if row is None:
        return None
    found = _alert(row)
    change(db, found.id, {"notice_at": now + lease, "notice_tries": found.notice_tries + 1})
    return found


def next_notice_at(db: Connection) -> datetime | None:
    return db.scalar(
        select(alert.c.notice_at).where(alert.c.notice_at.is_not(None)).order_by(alert.c.notice_at).limit(1)
    )


def notice_sent(db: Connection, sent: Alert) -> None:
    """A later message, which came up meanwhile, is still to be sent."""
    is_it = and_(alert.c.id == sent.id, alert.c.notice_sent < sent.notice)
    db.execute(update(alert).where(is_it).values(notice_sent=sent.notice))
    is_latest = and_(alert.c.id == sent.id, alert.c.notice == sent.notice)
    db.execute(update(alert).where(is_latest).values(notice_at=None, notice_tries=0))


def postpone_notice(db: Connection, failed: Alert, until: datetime | None) -> None:
    """None: it is given up."""
    is_latest = and_(alert.c.id == failed.id, alert.c.notice == failed.notice)
    db.execute(update(alert).where(is_latest).values(notice_at=until))


def _sees(accounts: Accounts) -> ColumnElement[bool]:
    return true() if accounts is None else alert.c.account_sid.in_(sorted(accounts))


def _is_of(subject: Subject) -> ColumnElement[bool]:
    return and_(*(alert.c[name] == text for name, text in _values(subject).items()))


def _values(subject: Subject) -> dict[str, str]:
    names = ("cause", "connector_name", "account_sid")
    return {name: getattr(subject, name) for name in names}


def _alert(row: Row[Any]) -> Alert:
    values = row._asdict()
    return Alert(**{**values, "notice_kind": NoticeKind(values["notice_kind"])})


_connector: Final = func.coalesce(session.c.connector_name, "")
_WATCHED: Final = session_watch.join(session, session.c.id == session_watch.c.session_id)
