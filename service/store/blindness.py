"""Whether an absence proves anything: callbacks may wait on a disk, or were not listened for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, or_, select

from service.store.blind_periods import Why
from service.store.columns import database_now
from service.store.spools import UNSEEN_AFTER
from service.store.watch_tables import blind_period, spool

# From its receipt: by then a callback was answered, and what was not committed is counted on its disk.
COUNTED_WITHIN: Final = timedelta(seconds=1.5)
DECIDED_AFTER: Final = timedelta(minutes=10)
MOST_PERIODS: Final = 3  # of each kind that are named


@dataclass(frozen=True)
class Blindness:
    """Why an absence proves nothing, as the end of a sentence: "callbacks may still wait on host B".

    `is_decided`: it has lasted so long that the absence counts all the same, with these words.
    """

    words: str
    is_decided: bool


def since(db: Connection, moment: datetime) -> Blindness | None:
    """What makes absences since `moment` (UTC, the database's clock) unsure; None: nothing does."""
    return Reasons(db, moment).since(moment)


class Reasons:
    """All that may make absences since `first` or later unsure: read once, for as many as are looked at."""

    def __init__(self, db: Connection, first: datetime) -> None:
        clock = select(database_now(db).label("now")).subquery()
        counts = or_(spool.c.retired_at.is_(None), spool.c.retired_at > first)
        found = select(clock.c.now, spool).select_from(clock.outerjoin(spool, counts))
        self._spools = db.execute(found).all()
        ended = select(blind_period).where(blind_period.c.ended_at >= first)
        self._periods = db.execute(ended.order_by(blind_period.c.ended_at.desc())).all()

    def is_early(self, until: datetime) -> bool:
        """A host that was seen lately has yet to say whether anything waits there that came until then."""
        now = self._spools[0].now
        alive = [one for one in self._spools if one.id and one.retired_at is None and not one.entries]
        return any(_until(one) < until and now - one.seen_at < UNSEEN_AFTER for one in alive)

    def since(self, moment: datetime, until: datetime | None = None) -> Blindness | None:
        """As the function of this name. `until`: what may have come later is not asked for."""
        now = self._spools[0].now
        # One that was retired later may have taken callbacks until then.
        spools = [
            one for one in self._spools if one.id and (one.retired_at is None or one.retired_at > moment)
        ]
        periods = [one for one in self._periods if one.ended_at >= moment]
        silent_until = max((one.ended_at for one in periods if one.why == Why.SILENT), default=None)
        reasons = [
            *_waiting(spools, now, silent_until, until),
            *_periods([one for one in periods if one.why == Why.AWAY], now),
            *_periods([one for one in periods if one.why == Why.REFUSED], now),
        ]
        if not reasons:
            return None
        words = dict.fromkeys(one.words for one in sorted(reasons, key=lambda one: one.is_decided))
        return Blindness("; ".join(words), is_decided=all(one.is_decided for one in reasons))


def _until(one: Row[Any]) -> datetime:
    """What came to this spool until then is counted in its row."""
    seen_at: datetime = one.seen_at
    return seen_at - COUNTED_WITHIN


def _waiting(
    spools: Iterable[Row[Any]], now: datetime, silent_until: datetime | None, until: datetime | None
) -> Iterator[Blindness]:
    for one in sorted(spools, key=lambda one: (one.host, one.id)):
        is_unseen = one.retired_at is not None or now - one.seen_at >= UNSEEN_AFTER
        if not (is_unseen or one.entries or (until is not None and _until(one) < until)):
            continue
        # While the database heard of nobody, that a host was not seen says nothing.
        began = (
            max(one.seen_at, silent_until or one.seen_at) if is_unseen else one.waiting_since or one.seen_at
        )
        if one.retired_at is None and now - began < DECIDED_AFTER:
            yield Blindness(f"callbacks may still wait on host {one.host}", is_decided=False)
        elif is_unseen:
            seen = _written(one.seen_at, now)
            words = f"host {one.host} was not seen since {seen}; what waits there is not counted"
            yield Blindness(words, is_decided=True)
        else:
            words = (
                f"callbacks have waited on host {one.host} since {_written(began, now)}; they are not counted"
            )
            yield Blindness(words, is_decided=True)


def _periods(periods: list[Row[Any]], now: datetime) -> Iterator[Blindness]:
    """The latest first."""
    for one in periods[:MOST_PERIODS]:
        who = "we were away" if one.host is None else f"host {one.host} answered 503"
        words = f"{who} from {_written(one.began_at, now)} to {_written(one.ended_at, now)}"
        yield Blindness(words, is_decided=now - one.ended_at >= DECIDED_AFTER)


def _written(moment: datetime, now: datetime) -> str:
    """In UTC; with its date where it is not today."""
    return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"
