"""Notices that an answer of Telnyx did not come."""

from __future__ import annotations

import logging
from datetime import datetime

from service.ledger.sessions import Sessions
from service.store.breaker import Breaker

log = logging.getLogger(__name__)


class Deadlines:
    def __init__(self, sessions: Sessions, breaker: Breaker) -> None:
        self._sessions = sessions
        self._breaker = breaker

    def run_once(self, _now: datetime) -> None:
        """Raises DatabaseError."""
        if not self._breaker.takes_writes:
            return
        if expired := self._sessions.expire():
            log.warning("sessions became unanswered: count=%d", expired)
