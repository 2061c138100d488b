"""From readings to figures: medians, and ratios within a round."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.bench.ledgers import Audit
from tests.bench.race import Result

SQLITE, POSTGRESQL = KINDS = ("SQLite", "PostgreSQL")
FLOOR, FLOOR_WSGI = "floor", "floor without Flask"
# What is added to a name.
SLOW_FSYNC, STORED, TWO_WORKERS = ", slow fsync", ", many stored", ", two workers"
READERS, SLOW_CLIENTS, FORGERS = ", 8 readers", ", slow clients", ", 64 forgers"
FOLLOWERS = ", 1,010 waiting"
DUE = ", 100,000 due"
EXPORTS = ", exports and reports"
NO_RESULT = 0.15  # machines drift, and a smaller difference is none


@dataclass(frozen=True)
class Stage:
    """One race; `versus` says beside whom each contestant's ratio is taken: of the figure `compared`."""

    key: str
    title: str
    result: Result
    versus: Mapping[str, str]
    compared: str = "rate"

    def all(self, name: str, figure: str) -> list[float]:
        """What a field of the readings was, round by round."""
        return [getattr(reading, figure) for reading in self.result.readings[name]]

    def median(self, name: str, figure: str) -> float:
        return statistics.median(self.all(name, figure))

    def is_watched(self, name: str) -> bool:
        """Whether it is known how late its event loop was."""
        return None not in self.all(name, "lag")

    def failed(self, name: str) -> int:
        """How many callbacks were not answered 200, or not at all."""
        statuses = self.result.statuses[name]
        return statuses.total() - statuses[200]

    def ratio(self, name: str, other: str, figure: str) -> float:
        """The median of the ratios within a round."""
        pairs = zip(self.all(name, figure), self.all(other, figure), strict=True)
        return statistics.median(one / two if two else float("inf") for one, two in pairs)

    def fastest(self, names: Iterable[str]) -> str | None:
        """Which of them, of those that are here, kept most callbacks a second."""
        here = [name for name in names if name in self.result.readings]
        return max(here, key=lambda name: self.median(name, "rate"), default=None)


def disturbance(stages: Iterable[Stage]) -> float | None:
    """How much of the load's core was not idle while only the load program should have used it."""
    floors = [reading for stage in stages for reading in stage.result.readings.get(FLOOR, [])]
    if not floors:
        return None
    return statistics.median(reading.load_core - reading.load_program for reading in floors)


def audit_of(stage: Stage, name: str) -> Audit:
    """Of all contestants whose name begins so."""
    audits = (audit for one, audit in stage.result.audits.items() if one.startswith(name))
    return sum(audits, Audit())
