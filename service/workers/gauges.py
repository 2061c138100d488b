"""Says each second what this process knows of itself, for whichever process answers /metrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from service import metrics
from service.ledger.backlog import Backlog
from service.store.breaker import Breaker


class Gauges:
    """From memory; any thread may call it. `waiting_readers` is set once there can be any."""

    def __init__(self, breaker: Breaker, backlog: Backlog) -> None:
        self._breaker = breaker
        self._backlog = backlog
        self.waiting_readers: Callable[[], int] = int

    def run_once(self, _now: datetime | None = None) -> None:
        metrics.answers.set(self._breaker.answers)
        metrics.takes_writes.set(self._breaker.takes_writes)
        metrics.waiting_readers.set(self.waiting_readers())
        depth = self._backlog.depth()
        if depth is not None:
            metrics.spool_entries.set(depth.entries)
            metrics.spool_oldest_seconds.set(depth.age or 0)
            metrics.spool_dead_letters.set(depth.dead_letters)
