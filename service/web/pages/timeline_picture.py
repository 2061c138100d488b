"""A session's times drawn to scale, on two clocks: ours above, Telnyx's below. Pure geometry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from service.domain.session import Session
from service.store.callback_lists import StoredCallback

LEFT, RIGHT = 4.0, 96.0  # per cent of the width
NEAREST: Final = 6.5  # two numbers that are nearer stand above each other
MOST_CALLBACKS: Final = 8
LEVEL_HEIGHT: Final = 22  # pixels
STEPS: Final = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
    *(1200, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 432000, 864000, 2592000, 31536000),
)
MOST_TICKS: Final = 4


class Clock(StrEnum):
    OURS = "ours"
    TELNYX = "Telnyx"


@dataclass(frozen=True)
class Moment:
    """`words` say what happened then, by whose clock; `at` is UTC."""

    words: str
    clock: Clock
    at: datetime


@dataclass(frozen=True)
class Point:
    number: int
    moment: Moment
    seconds: float  # since the first
    x: float  # per cent
    level: int  # above the axis for ours, below it for Telnyx's; from 0


@dataclass(frozen=True)
class Tick:
    x: float
    words: str


@dataclass(frozen=True)
class Picture:
    """`bar` is from x to x, where Telnyx says that it ran; `ways` lead from what happened to its receipt."""

    points: Sequence[Point]
    ticks: Sequence[Tick]
    bar: tuple[float, float] | None
    is_open: bool  # it runs on
    ways: Sequence[tuple[float, float]]
    levels_above: int
    levels_below: int


def moments(session: Session, callbacks: Iterable[StoredCallback]) -> list[Moment]:
    """In the order of time."""
    progress = session.progress
    by = f" by {session.requested_by}" if session.requested_by else ""
    ours = [
        (f"Requested{by}" if session.origin == "api" else "First callback received", session.requested_at),
        ("Accepted by Telnyx", progress.accepted_at),
        (f"Stop asked for by {progress.stop_requested_by or 'somebody'}", progress.stop_requested_at),
    ]
    theirs = [("Started", progress.started_at), ("Ended", progress.ended_at)]
    found = [Moment(words, Clock.OURS, at) for words, at in ours if at is not None]
    found += [Moment(words, Clock.TELNYX, at) for words, at in theirs if at is not None]
    for came in [*callbacks][:MOST_CALLBACKS]:
        words = f"{came.callback.event or 'Callback'} received"
        found.append(Moment(words, Clock.OURS, came.callback.notice.received_at))
    if session.watched.presumed_ended_at is not None:
        found.append(Moment("Presumed ended", Clock.OURS, session.watched.presumed_ended_at))
    return sorted(found, key=lambda one: one.at)


def draw(
    session: Session, shown: Sequence[Moment], callbacks: Sequence[StoredCallback], now: datetime
) -> Picture:
    """`shown` are its moments; while the session is not over the picture goes on until `now`."""
    is_open = not session.is_over and session.merged_into is None
    first = min(one.at for one in shown)
    last = max([one.at for one in shown] + ([now] if is_open else []))
    span = max((last - first).total_seconds(), 0.001)

    def x(at: datetime) -> float:
        share = min(max((at - first).total_seconds() / span, 0.0), 1.0)
        return round(LEFT + (RIGHT - LEFT) * share, 3)

    points = _points(shown, first, x)
    progress = session.progress
    bar = None
    if progress.started_at is not None:
        bar = (x(progress.started_at), x(progress.ended_at or (now if is_open else last)))
    ways = [
        (x(one.callback.notice.time), x(one.callback.notice.received_at))
        for one in callbacks[:MOST_CALLBACKS]
        if one.callback.notice.time is not None and first <= one.callback.notice.time <= last
    ]
    levels = {clock: max((p.level for p in points if p.moment.clock is clock), default=0) for clock in Clock}
    is_running = is_open and progress.ended_at is None and progress.started_at is not None
    return Picture(points, _ticks(span), bar, is_running, ways, levels[Clock.OURS], levels[Clock.TELNYX])


def _points(shown: Sequence[Moment], first: datetime, x: Callable[[datetime], float]) -> list[Point]:
    taken: dict[tuple[Clock, int], float] = {}
    found = []
    for number, one in enumerate(shown, start=1):
        at, level = x(one.at), 0
        while at - taken.get((one.clock, level), -100.0) < NEAREST:
            level += 1
        taken[one.clock, level] = at
        found.append(Point(number, one, (one.at - first).total_seconds(), at, level))
    return found


def _ticks(span: float) -> list[Tick]:
    """At round numbers of seconds since the first moment."""
    step = next((one for one in STEPS if span / one <= MOST_TICKS), span / MOST_TICKS)
    count = int(span / step)
    return [
        Tick(round(LEFT + (RIGHT - LEFT) * n * step / span, 3), duration(n * step)) for n in range(count + 1)
    ]


def duration(seconds: float) -> str:
    """With its two largest units."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds else "0"
    for size, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            large, rest = divmod(round(seconds), size)
            return f"{large} {unit} {rest // below} {small}" if rest // below else f"{large} {unit}"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"
