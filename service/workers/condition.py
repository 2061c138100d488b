"""The condition of this process, from memory; only how far the watch is, the database is asked."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import Final

from service.domain.service_alerts import Condition
from service.ledger.backlog import Backlog
from service.ledger.intake import Intake
from service.ledger.rejected import RejectedQueue
from service.store import processes, wellness
from service.store.engine import Database, DatabaseError
from service.workers.numbering import Numbering

WINDOW: Final = timedelta(minutes=10)


class Increase:
    """By how much a counter grew in WINDOW."""

    def __init__(self) -> None:
        self._samples: deque[tuple[datetime, int]] = deque()

    def of(self, count: int, now: datetime) -> int:
        self._samples.append((now, count))
        while self._samples[0][0] < now - WINDOW:
            self._samples.popleft()
        return count - self._samples[0][1]


class ProcessCondition:
    def __init__(
        self,
        database: Database,
        backlog: Backlog,
        intake: Intake,
        rejected: RejectedQueue,
        numbering: Numbering,
    ) -> None:
        self._database = database
        self._backlog = backlog
        self._intake = intake
        self._rejected = rejected
        self._numbering = numbering
        self._more_rejected = Increase()
        self._more_slow = Increase()

    def look(self, now: datetime) -> Condition:
        since = self._database.breaker.unavailable_since
        depth, lag = self._backlog.depth(), self._numbering.lag()
        return Condition(
            unavailable_seconds=0.0 if since is None else (now - since).total_seconds(),
            spool_seconds=(depth.age or 0.0) if depth else 0.0,
            dead_letters=depth.dead_letters if depth else 0,
            rejected=self._more_rejected.of(self._rejected.offers, now),
            slow_answers=self._more_slow.of(self._intake.slow_answers, now),
            clock_seconds=self._clock_seconds(now),
            unnumbered_seconds=lag.seconds if lag and lag.unnumbered else 0.0,
            watch_seconds=self._watch_seconds(),
        )

    def _clock_seconds(self, now: datetime) -> list[float]:
        signed = list(self._intake.signed)
        recent = [(text, at) for text, at in signed if at >= now - WINDOW and text.isdecimal()]
        return [at.timestamp() - int(text) for text, at in recent]

    def _watch_seconds(self) -> float:
        if not self._database.breaker.answers:
            return 0.0
        try:
            with self._database.read() as db:
                return wellness.watch_seconds(db, processes.now_of(db))
        except DatabaseError:
            return 0.0  # which is another alert
