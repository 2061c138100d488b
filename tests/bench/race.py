"""Races: contestants take turns in short slices, and after each its callbacks are counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench import post
from tests.bench.background import Seen
from tests.bench.contestants import Contestant
from tests.bench.ledgers import Audit
from tests.bench.load import Load, Slice, percentile, send
from tests.bench.machine import Meter
from tests.bench.post import BLOCK, CALLBACKS, Post

WARM_UP_SECONDS = 0.3
SPARE = 1.5  # times as many requests are prepared as the fastest seems to need


class OutOfPost(Exception):
    """A contestant was faster than the one that was taken for the fastest, and by far."""


@dataclass(frozen=True)
class Reading:
    """One slice: callbacks answered 200 a second, and milliseconds; how busy the cores were is up to 1.

    `cpu` is the server's microseconds for each callback; `background` what its background came to; `lag`
    the 99th percentile of its event loop's, of a contestant that is watched.
    """

    rate: float
    p50: float
    p99: float
    slowest: float
    cpu: float
    background: float
    server_core: float
    load_core: float
    load_program: float
    lag: float | None = None


class Result:
    """By contestant: a reading of each round; the rest of all slices, warm-ups included."""

    def __init__(self) -> None:
        self.readings: defaultdict[str, list[Reading]] = defaultdict(list)
        self.audits: defaultdict[str, Audit] = defaultdict(Audit)
        self.statuses: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.background = ""  # what some of them had beside them


class Track:
    """Where races are run. `plan` has every load to come, with a rate that nobody much exceeds under it."""

    def __init__(self, folder: Path, program: Path, rounds: int, plan: Mapping[Load, float]) -> None:
        self._folder = folder
        self._program = program
        self._rounds = rounds
        seconds = {load: rounds * load.seconds + WARM_UP_SECONDS for load in plan}
        self._blocks = {
            load: int(rate * SPARE * seconds[load] / CALLBACKS) + 1 for load, rate in plan.items()
        }
        self._next_session = 1

    @property
    def sessions(self) -> int:
        """How many the ledgers need: one to begin with, and new ones for each race."""
        return BLOCK * (1 + sum(self._blocks.values()))

    def begin(self, contestants: Sequence[Contestant]) -> None:
        """The first block, session 1 in it, is told to everybody."""
        first = self._prepare(1)
        for one in contestants:
            send(self._program, one.port, first, 0, Load(connections=1, seconds=10))

    def race(self, contestants: Sequence[Contestant], load: Load) -> Result:
        callbacks = self._prepare(self._blocks[load])
        at = {one.name: 0 for one in contestants}
        result = Result()
        result.background = next((one.background.unit for one in contestants if one.background), "")

        def take_turn(one: Contestant, load: Load) -> Reading:
            mark = one.ledger.mark() if one.ledger else None
            if at[one.name] >= len(callbacks.bodies):
                raise OutOfPost(one.name)
            sent, reading = self._slice(one, callbacks, at[one.name], load)
            at[one.name] = sent.next if one.ledger else sent.next % len(callbacks.bodies)
            result.statuses[one.name].update(sent.statuses)
            if one.ledger:
                result.audits[one.name] += one.ledger.audit(mark, callbacks, sent)
                if one.background:
                    one.ledger.settle()
            one.rest()
            return reading

        for one in contestants:
            take_turn(one, replace(load, seconds=WARM_UP_SECONDS))
        for number in range(self._rounds):
            first = number % len(contestants)  # nobody always follows the same one
            for one in [*contestants[first:], *contestants[:first]]:
                result.readings[one.name].append(take_turn(one, load))
        callbacks.path.unlink()
        return result

    def _slice(self, one: Contestant, callbacks: Post, first: int, load: Load) -> tuple[Slice, Reading]:
        beside = one.background.going_on(one.port, load.seconds) if one.background else nullcontext(Seen())
        meter = Meter()
        with beside as seen:
            one.lags()  # only those from now on count
            with meter.running(one.cpu_seconds):
                sent = send(self._program, one.port, callbacks, first, load)
            lags = one.lags()
        return sent, _reading(sent, meter, seen, lags)

    def _prepare(self, blocks: int) -> Post:
        first = self._next_session
        self._next_session += blocks * BLOCK
        return post.prepare(self._folder / f"post-{first}", first, blocks)


def _reading(sent: Slice, meter: Meter, seen: Seen, lags: Sequence[float]) -> Reading:
    return Reading(
        rate=sent.rate,
        p50=sent.percentile(0.5),
        p99=sent.percentile(0.99),
        slowest=sent.percentile(1),
        cpu=meter.used / sent.kept * 1e6 if sent.kept else float("inf"),
        background=seen.amount,
        server_core=meter.server,
        load_core=meter.load,
        load_program=sent.cpu_seconds / sent.seconds if sent.seconds else 0,
        lag=percentile(lags, 0.99) * 1000 if lags else None,
    )
