"""What the page Now shows: of each part no more than so many rows are looked at, found by an index."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Text,
    case,
    cast,
    extract,
    func,
    select,
    text,
    true,
)

from service.domain.access import Accounts
from service.domain.overdue import LIVE_STATUSES, OverdueKind
from service.domain.state import State
from service.store.accounts import sees_callback, sees_session
from service.store.alert_cases import OF_LATE
from service.store.processes import now_of
from service.store.tables import IS_NOT_STOPPED, callback, process, rejected_delivery, session
from service.store.watch_tables import session_watch, spool

DAY: Final = timedelta(days=1)
MOST_IN_PROGRESS: Final = 5_000  # of a state
MOST_STARTS: Final = 25_000
MOST_CALLBACKS: Final = 25_000
MOST_OVERDUE: Final = 500  # of a kind, of which the page shows a few
MOST_SHOWN: Final = 50  # of spools and processes
PROCESS_SHOWN_FOR: Final = timedelta(hours=1)
IN_PROGRESS: Final = (State.REQUESTED, State.UNANSWERED, State.ACCEPTED, State.STARTED)
FAILED: Final = (State.REFUSED, State.FAILED)
SECONDS: Final = (0.5, 1, 2, 5, 10, 30)  # the upper ends of what is told apart; the last is open


@dataclass(frozen=True)
class OverdueSession:
    """Times are UTC."""

    id: str
    call_sid: str
    account_sid: str
    connector_name: str | None
    kind: OverdueKind
    since: datetime
    why: str
    is_live: bool


@dataclass(frozen=True)
class Starts:
    """So many that were requested in the hour from `hour` on (UTC). `within` is a place in SECONDS."""

    hour: datetime
    is_failed: bool
    within: int | None  # None: it did not start
    count: int


@dataclass(frozen=True)
class Callbacks:
    """Of the last day: how many may be seen, of so many that were looked at."""

    looked_at: int
    shown: int

    @property
    def is_all(self) -> bool:
        return self.looked_at < MOST_CALLBACKS


def in_progress(db: Connection, accounts: Accounts) -> dict[State, int]:
    """By state, of the newest MOST_IN_PROGRESS."""
    return {state: _count(db, state, accounts) for state in IN_PROGRESS}


def _count(db: Connection, state: State, accounts: Accounts) -> int:
    newest = select(session.c.account_sid).where(session.c.state == state, text(IS_NOT_STOPPED))
    # The filter is within the limit or not at all: an account's own index is narrower than the state's.
    found = newest.order_by(session.c.requested_at.desc()).limit(MOST_IN_PROGRESS).subquery()
    wanted = true() if accounts is None else found.c.account_sid.in_(sorted(accounts))
    return db.execute(select(func.count()).select_from(found).where(wanted)).scalar_one()


def overdue(db: Connection, accounts: Accounts, limit: int) -> list[OverdueSession]:
    """Live calls first, then the newest; what was overdue before OF_LATE, lists tell."""
    of_late = now_of(db) - OF_LATE
    found = [one for kind in OverdueKind for one in _overdue(db, kind, accounts, of_late)]
    return sorted(found, key=lambda one: (one.is_live, one.since), reverse=True)[:limit]


def _overdue(
    db: Connection, kind: OverdueKind, accounts: Accounts, since: datetime
) -> Iterable[OverdueSession]:
    row = session_watch.c
    query = (
        select(
            session.c.id, session.c.call_sid, session.c.account_sid, session.c.connector_name, session_watch
        )
        .join(session, session.c.id == row.session_id)
        .where(row.overdue_kind == kind, row.overdue_kind.is_not(None), sees_session(accounts))
        .where(row.overdue_since >= since)
        .order_by(row.overdue_since.desc())
        .limit(MOST_OVERDUE)
    )
    for one in db.execute(query):
        is_live = one.call_status in LIVE_STATUSES
        about = (one.id, one.call_sid, one.account_sid, one.connector_name)
        yield OverdueSession(*about, kind, one.overdue_since, one.overdue_why or "", is_live)


def starts(db: Connection, accounts: Accounts, now: datetime) -> list[Starts]:
    """Of the last day, by hour, how it went and how long it took; of the newest MOST_STARTS at most."""
    row = session.c
    newest = (
        select(
            _hour(db, row.requested_at).label("hour"),
            row.state.in_(FAILED).label("is_failed"),
            _seconds(db, row.requested_at, row.started_at).label("seconds"),
        )
        .where(row.requested_at >= now - DAY, row.origin == "api", sees_session(accounts))
        .order_by(row.requested_at.desc(), row.id.desc())
        .limit(MOST_STARTS)
        .subquery()
    )
    within = case(
        (newest.c.seconds.is_(None), None),
        *((newest.c.seconds <= most, at) for at, most in enumerate(SECONDS)),
        else_=len(SECONDS),
    ).label("within")
    query = select(newest.c.hour, newest.c.is_failed, within, func.count().label("count"))
    grouped = query.group_by(text("1"), text("2"), text("3"))
    return [
        Starts(datetime.strptime(one.hour, "%Y-%m-%dT%H").replace(tzinfo=UTC), bool(one.is_failed), *one[2:])
        for one in db.execute(grouped)
    ]


def _hour(db: Connection, moment: ColumnElement[Any]) -> ColumnElement[str]:
    if db.dialect.name == "sqlite":
        return func.substr(moment, 1, 13, type_=Text)
    return func.to_char(func.timezone("UTC", moment), 'YYYY-MM-DD"T"HH24', type_=Text)


def _seconds(db: Connection, begin: ColumnElement[Any], end: ColumnElement[Any]) -> ColumnElement[float]:
    if db.dialect.name == "sqlite":
        # To the millisecond: more is not in a Julian day.
        return func.round((func.julianday(end) - func.julianday(begin)) * 86400, 3)
    return cast(extract("epoch", end - begin), Float)


def callbacks(db: Connection, accounts: Accounts, now: datetime) -> Callbacks:
    """Received within the last day; of the newest MOST_CALLBACKS at most."""
    is_seen = case((sees_callback(accounts), 1), else_=0).label("is_seen")
    newest = select(is_seen).where(callback.c.received_at >= now - DAY)
    newest_ones = newest.order_by(callback.c.received_at.desc()).limit(MOST_CALLBACKS).subquery()
    count = select(func.count(), func.coalesce(func.sum(newest_ones.c.is_seen), 0))
    looked_at, shown = db.execute(count).one()
    return Callbacks(looked_at, int(shown))


def spools(db: Connection) -> list[Any]:
    """The rows of those that nobody retired."""
    query = select(spool).where(spool.c.retired_at.is_(None))
    return list(db.execute(query.order_by(spool.c.host, spool.c.id).limit(MOST_SHOWN)))


def processes(db: Connection, now: datetime) -> list[Any]:
    """The rows of those that were seen within the last hour, the latest first."""
    query = select(process).where(process.c.alive_at >= now - PROCESS_SHOWN_FOR)
    return list(db.execute(query.order_by(process.c.alive_at.desc()).limit(MOST_SHOWN)))


def rejected(db: Connection) -> dict[str, int]:
    """How many are kept, by reason: `store.rejected` bounds them."""
    reason = rejected_delivery.c.reason
    rows = db.execute(select(reason, func.count().label("kept")).group_by(reason).order_by(reason))
    return {row.reason: row.kept for row in rows}
