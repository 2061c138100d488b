"""Whether an absence proves anything: callbacks may wait on a disk, or were not listened for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, func, or_, select, text

from service.store.blind_periods import Why
from service.store.columns import database_now
from service.store.spools import UNSEEN_AFTER
from service.store.watch_tables import blind_period, spool

# From its receipt: by then a callback was answered, and what was not committed is counted on its disk.
COUNTED_WITHIN: Final = timedelta(seconds=1.5)
DECIDED_AFTER: Final = timedelta(minutes=10)
MOST_PERIODS: Final = 3  # of each kind that are named, and count: the latest


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
        found = db.execute(select(clock.c.now, spool).select_from(clock.outerjoin(spool, counts))).all()
        self._now: datetime = found[0].now
        self._spools = [one for one in found if one.id]
        self._periods: dict[Why, list[Row[Any]]] = {why: [] for why in Why}
        for one in db.execute(_LATEST, {"first": first}):
            self._periods[Why(one.why)].append(one)
        self._ended = sorted(one.ended_at for periods in self._periods.values() for one in periods)
        self._retired = sorted(one.retired_at for one in self._spools if one.retired_at is not None)
        self._counted = sorted(_until(one) for one in self._spools)
        alive = [one for one in self._spools if one.retired_at is None and not _holds_callbacks(one)]
        self._silent = sorted(_until(one) for one in alive if self._now - one.seen_at < UNSEEN_AFTER)
        self._known: dict[tuple[int, int, int], Blindness | None] = {}

    def is_early(self, until: datetime) -> bool:
        """A host that was seen lately has yet to say whether anything waits there that came until then."""
        return bool(self._silent) and self._silent[0] < until

    def since(self, moment: datetime, until: datetime | None = None) -> Blindness | None:
        """As the function of this name. `until`: what may have come later is not asked for."""
        # Between two moments at which anything changes, it is the same for all.
        place = (
            bisect_left(self._ended, moment),
            bisect_right(self._retired, moment),
            0 if until is None else bisect_left(self._counted, until),
        )
        if place not in self._known:
            self._known[place] = self._since(moment, until)
        return self._known[place]

    def _since(self, moment: datetime, until: datetime | None) -> Blindness | None:
        # One that was retired later may have taken callbacks until then.
        spools = [one for one in self._spools if one.retired_at is None or one.retired_at > moment]
        periods = {why: [one for one in of if one.ended_at >= moment] for why, of in self._periods.items()}
        silent_until = periods[Why.SILENT][0].ended_at if periods[Why.SILENT] else None
        reasons = [
            *_waiting(spools, self._now, silent_until, until),
            *_periods(periods[Why.AWAY], self._now),
            *_periods(periods[Why.REFUSED], self._now),
        ]
        if not reasons:
            return None
        words = dict.fromkeys(one.words for one in sorted(reasons, key=lambda one: one.is_decided))
        return Blindness("; ".join(words), is_decided=all(one.is_decided for one in reasons))


def _until(one: Row[Any]) -> datetime:
    """What came to this spool until then is counted in its row."""
    seen_at: datetime = one.seen_at
    return seen_at - COUNTED_WITHIN


def _holds_callbacks(one: Row[Any]) -> bool:
    return bool(one.entries or one.dead_letters)


def _waiting(
    spools: Iterable[Row[Any]], now: datetime, silent_until: datetime | None, until: datetime | None
) -> Iterator[Blindness]:
    for one in sorted(spools, key=lambda one: (one.host, one.id)):
        is_unseen = one.retired_at is not None or now - one.seen_at >= UNSEEN_AFTER
        if not (is_unseen or _holds_callbacks(one) or (until is not None and _until(one) < until)):
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
    for one in periods:
        who = "we were away" if one.host is None else f"host {one.host} answered 503"
        words = f"{who} from {_written(one.began_at, now)} to {_written(one.ended_at, now)}"
        yield Blindness(words, is_decided=now - one.ended_at >= DECIDED_AFTER)


def _written(moment: datetime, now: datetime) -> str:
    """In UTC; with its date where it is not today."""
    return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"


_place = func.row_number().over(partition_by=blind_period.c.why, order_by=blind_period.c.ended_at.desc())
_ENDED = select(blind_period, _place.label("place")).where(blind_period.c.ended_at >= bindparam("first"))
_LATEST: Final = select(_ENDED.subquery()).where(text(f"place <= {MOST_PERIODS}")).order_by(text("place"))
