"""The figures that tell whether all is well: what is overdue, open, waiting on disks, not seen, or behind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, and_, func, or_, select

from service.domain.access import Accounts
from service.domain.overdue import OverdueKind
from service.store import numbering, schema
from service.store.accounts import sees_alert
from service.store.alert_cases import OF_LATE, is_call_live, is_unknown
from service.store.processes import now_of
from service.store.schema import Age
from service.store.spools import UNSEEN_AFTER
from service.store.tables import event, process, session
from service.store.watch_tables import alert, due, session_watch, spool, watch

MOST_COUNTED: Final = 10_000  # of a kind, the newest first: calls that go on are among them
LOST_FOR: Final = timedelta(minutes=10)  # so long a process that vanished is missed


@dataclass(frozen=True)
class OverdueSessions:
    """So many of a kind; where there are MOST_COUNTED, there may be more."""

    kind: OverdueKind
    is_unknown: bool
    is_call_live: bool
    count: int


@dataclass(frozen=True)
class WaitingSpool:
    host: str
    entries: int
    dead_letters: int
    is_seen: bool


def has_tables(db: Connection) -> bool:
    """Whether the schema is one that this code works with."""
    return schema.age(db) in {Age.CURRENT, Age.NEWER}


def overdue_sessions(db: Connection, accounts: Accounts) -> list[OverdueSessions]:
    return [one for kind in OverdueKind for one in _overdue(db, kind, accounts)]


def _overdue(db: Connection, kind: OverdueKind, accounts: Accounts) -> list[OverdueSessions]:
    row = session_watch.c
    newest = select(is_unknown.label("is_unknown"), is_call_live.label("is_live"))
    newest = newest.where(row.overdue_kind == kind, row.overdue_kind.is_not(None))
    newest = newest.where(row.overdue_since >= now_of(db) - OF_LATE)
    if accounts is not None:
        newest = newest.join(session, session.c.id == row.session_id)
        newest = newest.where(session.c.account_sid.in_(sorted(accounts)))
    found = newest.order_by(row.overdue_since.desc()).limit(MOST_COUNTED).subquery()
    counts = select(found.c.is_unknown, found.c.is_live, func.count())
    rows = db.execute(counts.group_by(found.c.is_unknown, found.c.is_live))
    return [OverdueSessions(kind, bool(unknown), bool(live), count) for unknown, live, count in rows]


def open_alerts(db: Connection, accounts: Accounts) -> int:
    return db.execute(
        select(func.count()).select_from(alert).where(alert.c.ended_at.is_(None), sees_alert(accounts))
    ).scalar_one()


def waiting_spools(db: Connection, now: datetime) -> list[WaitingSpool]:
    """Those that are not empty, or were not seen lately, unless somebody said that they never come back."""
    row, seen_since = spool.c, now - UNSEEN_AFTER
    waits = or_(row.entries > 0, row.dead_letters > 0, row.seen_at < seen_since)
    query = select(spool).where(and_(row.retired_at.is_(None), waits)).order_by(row.host, row.id)
    return [
        WaitingSpool(one.host, one.entries, one.dead_letters, one.seen_at >= seen_since)
        for one in db.execute(query)
    ]


def lost_processes(db: Connection, now: datetime) -> tuple[dict[str, int], bool]:
    """By host, how many vanished lately that no later process replaced; and whether any is seen."""
    query = select(process.c.host, process.c.started_at, process.c.alive_at)
    rows = db.execute(query.where(process.c.alive_at >= now - LOST_FOR)).all()
    seen_since = now - UNSEEN_AFTER
    vanished, seen = (
        [row for row in rows if (row.alive_at >= seen_since) is is_seen] for is_seen in (False, True)
    )
    lost = {}
    for host in sorted({row.host for row in vanished}):
        ends = [row.alive_at for row in vanished if row.host == host]
        # A beat comes every 2 s, and who takes over may start before it.
        since = min(ends) - UNSEEN_AFTER
        later = sum(row.host == host and row.started_at >= since for row in seen)
        if len(ends) > later:
            lost[host] = len(ends) - later
    return lost, bool(seen)


def unnumbered_seconds(db: Connection) -> float:
    """How long the oldest event without a position has waited for it."""
    return numbering.unnumbered(db).oldest_seconds


def watch_seconds(db: Connection, now: datetime) -> float:
    """How long the oldest event has waited for the watch, or the oldest row that is due."""
    position = select(func.coalesce(func.max(watch.c.position), 0)).scalar_subquery()
    unseen = select(event.c.numbered_at).where(event.c.position == position + 1)
    moments = [db.scalar(unseen), db.scalar(select(due.c.next_at).order_by(due.c.next_at).limit(1))]
    waited: list[float] = [(now - moment).total_seconds() for moment in moments if moment is not None]
    return max([0.0, *waited])
