"""The promise as two numbers: how many callbacks were answered 200, and how many of them are shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from service.domain.ids import period_after, period_at, period_before, period_begin
from service.store import answer_counts, wellness

DAY: Final = timedelta(days=1)
SETTLED_AFTER: Final = timedelta(minutes=1)  # then each spool's row says what waited on its disk


@dataclass(frozen=True)
class Promise:
    """Deliveries of the last day, or since `since` (UTC) where there are more than are looked at.

    `waiting` entries lie on disks. `unsettled` are answered and not stored, but may be on their way yet;
    `missing` are in no place that is known.
    """

    since: datetime
    is_day: bool
    shown: int
    waiting: int = 0
    unsettled: int = 0
    missing: int = 0

    @property
    def answered(self) -> int:
        """At least: of a process that died, what it counted last is not known."""
        return self.shown + self.waiting + self.unsettled + self.missing


def of(db: Connection, now: datetime) -> Promise:
    """`now` is UTC, by the database's clock.

    Where a process's count is missing, what is stored counts as answered: that never looks like a loss.
    """
    since = period_at(now - DAY)
    # In this order: what is counted is on a disk by then, and what left the disk since is stored.
    answered = answer_counts.answered(db, since)
    waiting = sum(one.entries + one.dead_letters for one in wellness.waiting_spools(db, now))
    stored, whole = answer_counts.stored(db, since, at_least=_last_settled(now))
    lacking = {
        period: count - stored.get(period, 0)
        for period, count in answered.items()
        if period >= whole and count > stored.get(period, 0)
    }
    fresh = sum(n for period, n in lacking.items() if _is_fresh(period, now))
    settled = sum(lacking.values()) - fresh
    return Promise(
        since=period_begin(whole),
        is_day=whole == since,
        shown=sum(stored.values()),
        waiting=waiting,
        unsettled=max(0, fresh - max(0, waiting - settled)),
        missing=max(0, settled - waiting),
    )


def _last_settled(now: datetime) -> str:
    """The newest period that is not fresh any more."""
    return period_before(period_at(now - SETTLED_AFTER))


def _is_fresh(period: str, now: datetime) -> bool:
    return period_begin(period_after(period)) + SETTLED_AFTER > now
