"""Writes what waits once the database takes it, and is the one who finds out."""

from __future__ import annotations

import logging
from datetime import datetime

from service.ledger.backlog import Backlog
from service.ledger.drain import Drain
from service.ledger.intake import Intake
from service.log_lines import fields
from service.store.breaker import Breaker
from service.workers.heartbeat import Heartbeat

log = logging.getLogger(__name__)


class DrainWorker:
    """While the database takes no writes, the oldest that waits is the probe; in silence, the heartbeat."""

    def __init__(
        self, drain: Drain, backlog: Backlog, intake: Intake, breaker: Breaker, heartbeat: Heartbeat
    ) -> None:
        self._drain = drain
        self._backlog = backlog
        self._intake = intake
        self._breaker = breaker
        self._heartbeat = heartbeat
        self._has_retried = False

    def run_once(self, now: datetime) -> None:
        """Raises DatabaseError, and whatever else fails for every entry."""
        self._backlog.survey()
        if self._breaker.takes_writes:
            self._retry_dead_letters()
            self._write()
            return
        with self._breaker.probe() as may_probe:
            if may_probe:
                has_failed = self._write(may_probe=True)
                if not (has_failed or self._breaker.takes_writes):
                    self._heartbeat.beat(now)

    def _write(self, *, may_probe: bool = False) -> bool:
        """Whether the database was unavailable for any of it."""
        if not self._backlog.is_waiting:
            return False
        count = self._drain.run(lambda: not self._intake.is_late, may_probe=may_probe)
        if count:
            log.info("spool drained", extra=fields(count=count))
        return self._drain.was_unavailable

    def _retry_dead_letters(self) -> None:
        """Once: what this release does not take may have been the last one's fault."""
        if not self._has_retried:
            self._has_retried = True
            if self._backlog.retry():
                self._backlog.survey()
