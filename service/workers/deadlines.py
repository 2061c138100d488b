"""Notices that an answer of Telnyx did not come."""

from __future__ import annotations

import logging
from datetime import datetime

from service.ledger.deadlines import expire_overdue
from service.ledger.ingest import Changed
from service.log_lines import fact
from service.store.engine import Database

log = logging.getLogger(__name__)


class Deadlines:
    def __init__(self, database: Database, changed: Changed) -> None:
        self._database = database
        self._changed = changed

    def run_once(self, now: datetime) -> None:
        """Raises DatabaseError."""
        if not self._database.breaker.takes_writes:
            return
        if expired := expire_overdue(self._database, now, self._changed):
            log.warning("sessions became unanswered", extra=fact(count=expired))
