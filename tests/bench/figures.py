"""From readings to figures: medians, ratios within a round, and which targets they reach."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.bench.ledgers import Audit
from tests.bench.race import Result

KINDS = ("SQLite", "PostgreSQL")
FLOOR, FLOOR_WSGI = "floor", "floor without Flask"
SLOW, STORED = ", slow fsync", ", many stored"  # what is added to a name
NO_RESULT = 0.15  # machines drift, and a smaller difference is none


@dataclass(frozen=True)
class Stage:
    """One race; `versus` says beside whom each contestant's ratio is taken."""

    key: str
    title: str
    result: Result
    versus: Mapping[str, str]

    def all(self, name: str, figure: str) -> list[float]:
        """What a field of the readings was, round by round."""
        return [getattr(reading, figure) for reading in self.result.readings[name]]

    def median(self, name: str, figure: str) -> float:
        return statistics.median(self.all(name, figure))

    def ratio(self, name: str, other: str, figure: str) -> float:
        """The median of the ratios within a round."""
        pairs = zip(self.all(name, figure), self.all(other, figure), strict=True)
        return statistics.median(one / two if two else float("inf") for one, two in pairs)


@dataclass(frozen=True)
class Target:
    what: str
    value: float
    bound: str  # "at least" or "at most"
    limit: float

    @property
    def is_reached(self) -> bool:
        return self.value >= self.limit if self.bound == "at least" else self.value <= self.limit


def targets(stages: Iterable[Stage]) -> list[Target]:
    at = {stage.key: stage for stage in stages}
    return [target for kind in KINDS for target in _of(kind, at)] + [_nothing_lost(at.values())]


def _of(kind: str, at: Mapping[str, Stage]) -> list[Target]:
    ours, naive = f"ours, {kind}", f"naive, {kind}"

    def of(key: str, other: str, figure: str, what: str, bound: str, limit: float, added: str = "") -> Target:
        return Target(f"{kind}: {what}", at[key].ratio(ours + added, other, figure), bound, limit)

    if kind == "SQLite":
        alone = of("1", FLOOR, "p50", "a lone callback's p50, times the floor's", "at most", 1.7)
    else:
        what = "a lone callback's p50, times a direct commit's (no worse, but for noise)"
        alone = of("1", f"direct, {kind}", "p50", what, "at most", 1 + NO_RESULT)
    return [
        of("64", FLOOR, "rate", "rate at concurrency 64, of the floor's", "at least", 0.9),
        of("16", FLOOR, "rate", "rate at concurrency 16, of the floor's", "at least", 0.8),
        of("64", naive, "rate", "rate at concurrency 64, times the naive one's", "at least", 3),
        of("16", naive, "rate", "rate at concurrency 16, times the naive one's", "at least", 3),
        alone,
        of("half", FLOOR, "p99", "p99 at half load, times the floor's", "at most", 1.5),
        of("slow", ours, "rate", "rate with slow fsync, of that without", "at least", 0.9, SLOW),
        of("stored", ours, "rate", "rate with many stored, of that with none", "at least", 0.9, STORED),
    ]


def disturbance(stages: Iterable[Stage]) -> float:
    """How much of the load's core was not idle while only the load program should have used it."""
    floors = (reading for stage in stages for reading in stage.result.readings.get(FLOOR, []))
    return statistics.median(reading.load_core - reading.load_program for reading in floors)


def _nothing_lost(stages: Iterable[Stage]) -> Target:
    total = sum((audit_of(stage, "ours") for stage in stages), Audit())
    wrong = total.lost + total.twice + total.miscounted
    return Target(f"lost, twice or miscounted of {total.answered:,} callbacks kept", wrong, "at most", 0)


def audit_of(stage: Stage, name: str) -> Audit:
    """Of all contestants whose name begins so."""
    audits = (audit for one, audit in stage.result.audits.items() if one.startswith(name))
    return sum(audits, Audit())
