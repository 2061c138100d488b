"""What the tables say of the state of things, for /metrics: what is overdue, alerts, spools, heartbeats."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, select

from service.domain.overdue import CallStatus, OverdueKind
from service.store import numbering, processes
from service.store.numbering import Unnumbered
from service.store.spools import UNSEEN_AFTER
from service.store.tables import process, rejected_delivery
from service.store.watch_tables import alert, session_watch, spool

# How long ago a heartbeat was -> what that is called; the first that fits.
AGES: Final = (
    (UNSEEN_AFTER, "under_15s"),
    (timedelta(minutes=1), "under_1m"),
    (timedelta(hours=1), "under_1h"),
    (timedelta(days=36500), "older"),
)
CALLS: Final = ("live", "over", "unknown")


@dataclass(frozen=True)
class Spools:
    """All but those that are retired; `oldest_seconds` is 0 where nothing waits."""

    entries: int
    dead_letters: int
    oldest_seconds: float
    unseen: int


@dataclass(frozen=True)
class Conditions:
    """As the database has it; ages by its clock."""

    overdue: dict[tuple[str, str], int]  # by OverdueKind, and one of CALLS
    alerts: dict[tuple[str, bool], int]  # open ones by cause, and whether they are acknowledged
    notices_waiting: int
    spools: Spools
    heartbeat_seconds: float | None  # of the latest; None: there was none
    processes: dict[str, int]  # by a name of AGES
    unnumbered: Unnumbered
    rejected: dict[str, int]  # by reason


def of(db: Connection) -> Conditions:
    """In one transaction that reads. Raises DatabaseError."""
    numbering.prepare(db)
    now = processes.now_of(db)
    newest, ages = _heartbeats(db, now)
    return Conditions(
        overdue=_overdue(db),
        alerts=_alerts(db),
        notices_waiting=_notices(db),
        spools=_spools(db, now),
        heartbeat_seconds=newest,
        processes=ages,
        unnumbered=numbering.unnumbered(db),
        rejected=_rejected(db),
    )


def _overdue(db: Connection) -> dict[tuple[str, str], int]:
    kind, status = session_watch.c.overdue_kind, session_watch.c.call_status
    query = select(kind, status, func.count()).where(kind.is_not(None)).group_by(kind, status)
    found = {(str(one), call): 0 for one in OverdueKind for call in CALLS}
    for cause, call_status, count in db.execute(query):
        named = (cause, _call(call_status))
        found[named] = found.get(named, 0) + count
    return found


def _call(status: str | None) -> str:
    if status not in set(CallStatus):
        return "unknown"
    return "over" if CallStatus(status).is_over else "live"


def _alerts(db: Connection) -> dict[tuple[str, bool], int]:
    is_acknowledged = alert.c.acknowledged_at.is_not(None)
    query = select(alert.c.cause, is_acknowledged, func.count()).where(alert.c.ended_at.is_(None))
    return {
        (cause, bool(is_so)): n
        for cause, is_so, n in db.execute(query.group_by(alert.c.cause, is_acknowledged))
    }


def _notices(db: Connection) -> int:
    return db.execute(select(func.count()).where(alert.c.notice_at.is_not(None))).scalar_one()


def _spools(db: Connection, now: datetime) -> Spools:
    known = db.execute(
        select(spool.c.seen_at, spool.c.entries, spool.c.oldest_at, spool.c.dead_letters).where(
            spool.c.retired_at.is_(None)
        )
    ).all()
    ages = [(now - row.oldest_at).total_seconds() for row in known if row.oldest_at is not None]
    return Spools(
        entries=sum(row.entries for row in known),
        dead_letters=sum(row.dead_letters for row in known),
        oldest_seconds=max([0.0, *ages]),
        unseen=sum(now - row.seen_at >= UNSEEN_AFTER for row in known),
    )


def _heartbeats(db: Connection, now: datetime) -> tuple[float | None, dict[str, int]]:
    ages = [now - alive_at for (alive_at,) in db.execute(select(process.c.alive_at))]
    found = Counter(next(name for limit, name in AGES if age < limit) for age in ages)
    newest = max(0.0, min(ages).total_seconds()) if ages else None
    return newest, {name: found[name] for _, name in AGES}


def _rejected(db: Connection) -> dict[str, int]:
    reason = rejected_delivery.c.reason
    found = db.execute(select(reason, func.count()).group_by(reason))
    return {row[0]: row[1] for row in found}
