"""What is to be reached, and whether it was: what must be, and what is aimed at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.figures import (
    DUE,
    EXPORTS,
    FLOOR,
    FOLLOWERS,
    FORGERS,
    POSTGRESQL,
    READERS,
    SLOW_CLIENTS,
    SLOW_FSYNC,
    SQLITE,
    STORED,
    TWO_WORKERS,
    Stage,
    audit_of,
)
from tests.bench.ledgers import Audit
from tests.bench.peers import PEERS
from tests.bench.reads import Read
from tests.bench.watch import Cost

AT_LEAST, AT_MOST = "at least", "at most"
BEST_PEER = "best peer"
READS_TIMES = 3  # at a million sessions, of what they take at ten thousand


@dataclass(frozen=True)
class Goal:
    """`limits`, by database: what must be, and what is aimed at. `added` names what ours was put through.

    `beside` None: the figure itself counts, not its ratio to somebody else's.
    """

    what: str
    stage: str
    figure: str
    beside: str | None
    bound: str
    limits: Mapping[str, tuple[float, float | None]]
    added: str = ""


@dataclass(frozen=True)
class Target:
    what: str
    value: float
    bound: str
    must: float
    aim: float | None = None

    @property
    def is_reached(self) -> bool:
        return self._is_within(self.must)

    @property
    def is_aim_reached(self) -> bool:
        return self.aim is not None and self._is_within(self.aim)

    def _is_within(self, limit: float) -> bool:
        return self.value >= limit if self.bound == AT_LEAST else self.value <= limit


def _both(sqlite: tuple[float, float | None], postgresql: tuple[float, float | None]) -> Mapping[str, tuple]:
    return {SQLITE: sqlite, POSTGRESQL: postgresql}


OURS = "ours"
GOALS = (
    Goal("at 64, of the floor's rate", "64", "rate", FLOOR, AT_LEAST, _both((1.2, 1.4), (1.2, 1.4))),
    Goal("at 16, of the floor's rate", "16", "rate", FLOOR, AT_LEAST, _both((1.1, 1.2), (0.85, 1.0))),
    Goal("at 64, of the best peer's rate", "64", "rate", BEST_PEER, AT_LEAST, _both((1.3, 1.6), (0.85, 1.0))),
    Goal("lone callback's p50, of the floor's", "1", "p50", FLOOR, AT_MOST, _both((1.9, 1.5), (3.0, 2.4))),
    Goal(
        "p99 at half the floor's rate, in memory, of the floor's",
        *("half", "p99", FLOOR, AT_MOST),
        limits=_both((1.5, 1), (2, 1.5)),
    ),
    Goal(
        "rate with 2 ms more for each fsync, of without",
        *("fsync", "rate", OURS, AT_LEAST),
        limits=_both((0.85, 0.95), (0.85, 0.95)),
        added=SLOW_FSYNC,
    ),
    Goal(
        "rate with many stored before, of none",
        *("stored", "rate", OURS, AT_LEAST),
        limits=_both((0.9, None), (0.9, None)),
        added=STORED,
    ),
    Goal(
        "CPU per callback with two workers, of one worker's",
        *("workers", "cpu", OURS, AT_MOST),
        limits={POSTGRESQL: (1.15, None)},
        added=TWO_WORKERS,
    ),
    Goal(
        "rate while 8 readers list sessions, of without",
        *("readers", "rate", OURS, AT_LEAST),
        limits=_both((0.5, 0.7), (0.5, 0.7)),
        added=READERS,
    ),
    Goal(
        "rate while 1,000 readers wait for a session each and 10 for everything, of without",
        *("followers", "rate", OURS, AT_LEAST),
        limits=_both((0.85, None), (0.85, None)),
        added=FOLLOWERS,
    ),
    Goal(
        "p99 while they wait, of without",
        *("followers", "p99", OURS, AT_MOST),
        limits=_both((1.3, None), (1.3, None)),
        added=FOLLOWERS,
    ),
    Goal(
        "rate while an export and a report run, of without",
        *("exports", "rate", OURS, AT_LEAST),
        limits=_both((0.9, None), (0.9, None)),
        added=EXPORTS,
    ),
    Goal(
        "p99 while they run, of without",
        *("exports", "p99", OURS, AT_MOST),
        limits=_both((1.2, None), (1.2, None)),
        added=EXPORTS,
    ),
    Goal(
        "p99 while 100,000 sessions are due at once, of without",
        *("watch", "p99", OURS, AT_MOST),
        limits=_both((2, None), (2, None)),
        added=DUE,
    ),
    Goal(
        "of these worked off meanwhile, a second",
        *("watch", "background", None, AT_LEAST),
        limits=_both((2000, None), (2000, None)),
        added=DUE,
    ),
    Goal(
        "p99 beside 1,000 slow clients, in ms",
        *("clients", "p99", None, AT_MOST),
        limits=_both((50, None), (50, None)),
        added=SLOW_CLIENTS,
    ),
    Goal(
        "event loop's lag beside 1,000 slow clients, p99 in ms",
        *("clients", "lag", None, AT_MOST),
        limits=_both((20, None), (20, None)),
        added=SLOW_CLIENTS,
    ),
    Goal(
        "p99 beside 64 forgers, in ms",
        *("forgers", "p99", None, AT_MOST),
        limits=_both((50, None), (50, None)),
        added=FORGERS,
    ),
)


def targets(stages: Iterable[Stage], reads: Sequence[Read], watch: Sequence[Cost] = ()) -> list[Target]:
    """Of what was measured."""
    at = {stage.key: stage for stage in stages}
    found = [
        target
        for kind in (SQLITE, POSTGRESQL)
        for goal in GOALS
        if goal.stage in at and (target := _target(goal, kind, at[goal.stage]))
    ]
    return (
        found
        + _all_answered(at.get("forgers"))
        + _slowest_reads(reads)
        + _of_watch(watch)
        + _nothing_lost(at.values())
    )


def _target(goal: Goal, kind: str, stage: Stage) -> Target | None:
    """None if the goal is not for this database, or ours or whoever it is held against is not here."""
    name, what = f"ours, {kind}", goal.what
    if kind not in goal.limits or name + goal.added not in stage.result.readings:
        return None
    must, aim = goal.limits[kind]
    if goal.beside is None:
        value = stage.median(name + goal.added, goal.figure)
        return Target(f"{kind}: {what}", value, goal.bound, must, aim)
    beside = {BEST_PEER: best_peer(kind, stage), OURS: name}.get(goal.beside, goal.beside)
    if beside is None:
        return None
    if goal.beside == BEST_PEER:
        what = f"{what} ({beside})"
    value = stage.ratio(name + goal.added, beside, goal.figure)
    return Target(f"{kind}: {what}", value, goal.bound, must, aim)


def best_peer(kind: str, stage: Stage) -> str | None:
    return stage.fastest(peer.name for peer in PEERS if peer.kind == kind)


def _all_answered(forgers: Stage | None) -> list[Target]:
    """Of all rounds, and the warm-up: a single 503 is one too many."""
    names = [f"ours, {kind}{FORGERS}" for kind in (SQLITE, POSTGRESQL)] if forgers else []
    return [
        Target(f"{name}: callbacks not answered 200", forgers.failed(name), AT_MOST, 0)
        for name in names
        if forgers and name in forgers.result.statuses
    ]


def _slowest_reads(reads: Sequence[Read]) -> list[Target]:
    found = []
    for kind in (SQLITE, POSTGRESQL):
        if of_kind := [read for read in reads if read.kind == kind and read.is_promised]:
            slowest = max(of_kind, key=lambda read: read.times)
            what = f"{kind}: the read that many sessions slow most ({slowest.name}), times as long"
            found.append(Target(what, slowest.times, AT_MOST, READS_TIMES))
    return found


def _of_watch(watch: Sequence[Cost]) -> list[Target]:
    return [
        Target(
            f"{cost.kind}: the watch, {cost.what}, in {cost.unit}",
            cost.median,
            AT_LEAST if cost.is_rate else AT_MOST,
            cost.must,
        )
        for cost in watch
    ]


def _nothing_lost(stages: Iterable[Stage]) -> list[Target]:
    total = sum((audit_of(stage, OURS) for stage in stages), Audit())
    if not total.answered:
        return []
    wrong = total.lost + total.twice + total.miscounted
    return [Target(f"lost, twice or miscounted of {total.answered:,} callbacks kept", wrong, AT_MOST, 0)]
