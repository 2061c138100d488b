"""What the pictures of the page Now are drawn from: a day of starts, in the units of their SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from service.store.now import MOST_STARTS, SECONDS, Starts

HOUR: Final = timedelta(hours=1)
TALLEST: Final = 100.0  # of a bar
LEAST: Final = 2.0  # of one that is not empty: it has to be seen


@dataclass(frozen=True)
class Hour:
    """`tall` and `deep` are what starts and failures measure in the picture."""

    begin: datetime
    starts: int
    failed: int
    tall: float
    deep: float

    @property
    def after(self) -> str:
        """As the list's filter takes it: times after this one, exclusive."""
        return _written(self.begin - timedelta(microseconds=1))

    @property
    def before(self) -> str:
        return _written(self.begin + HOUR)


@dataclass(frozen=True)
class Within:
    words: str
    count: int
    tall: float


@dataclass(frozen=True)
class Day:
    hours: tuple[Hour, ...]
    seconds: tuple[Within, ...]

    @property
    def starts(self) -> int:
        return sum(hour.starts for hour in self.hours)

    @property
    def failed(self) -> int:
        return sum(hour.failed for hour in self.hours)

    @property
    def deepest(self) -> float:
        return max(hour.deep for hour in self.hours)

    @property
    def started(self) -> int:
        return sum(one.count for one in self.seconds)

    @property
    def is_all(self) -> bool:
        return self.starts < MOST_STARTS

    @property
    def after(self) -> str:
        return self.hours[0].after


def day_of(starts: Sequence[Starts], now: datetime) -> Day:
    """The 24 hours before `now`, and what there is of this one: 25 bars, of which the first is cut."""
    last = now.replace(minute=0, second=0, microsecond=0)
    begins = [last - back * HOUR for back in range(24, -1, -1)]
    counts = [sum(one.count for one in starts if one.hour == begin) for begin in begins]
    failed = [sum(one.count for one in starts if one.hour == begin and one.is_failed) for begin in begins]
    most = max([1, *counts])
    hours = (
        Hour(begin, count, bad, _tall(count, most), _tall(bad, most))
        for begin, count, bad in zip(begins, counts, failed, strict=True)
    )
    within = [sum(one.count for one in starts if one.within == at) for at in range(len(SECONDS) + 1)]
    words = [f"≤ {most_seconds:g} s" for most_seconds in SECONDS] + [f"> {SECONDS[-1]:g} s"]
    longest = max([1, *within])
    return Day(
        tuple(hours),
        tuple(Within(word, count, _tall(count, longest)) for word, count in zip(words, within, strict=True)),
    )


def _tall(count: int, most: int) -> float:
    return round(max(LEAST, TALLEST * count / most), 1) if count else 0.0


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
