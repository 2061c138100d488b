"""Finds what did not happen in time, and asks Telnyx for the calls."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import Final

from service.ledger.watch import SQLITE_DECIDED_AT_ONCE, Decided, Watch
from service.store.engine import Database
from service.workers.asking import Asking

LONGEST_RUN: Final = 5.0  # seconds for each of its two parts, so that neither keeps the other waiting
PAUSE_SECONDS: Final = 0.004  # between two transactions; on SQLite, callbacks get their turn
MOST_LOGGED: Final = 20  # of one run; the others are counted

log = logging.getLogger(__name__)


class Overdue:
    def __init__(self, database: Database, watch: Watch, asking: Asking) -> None:
        self._database = database
        self._watch = watch
        self._asking = asking

    def run_once(self, _now: datetime) -> None:
        """Raises DatabaseError."""
        if not self._database.breaker.takes_writes:
            return
        self._receive()
        is_behind, has_due = self._watch.work()
        if is_behind:
            until = time.monotonic() + LONGEST_RUN
            while self._watch.follow() and time.monotonic() < until:
                self._pause()
        if has_due:
            self._decide()

    def _receive(self) -> None:
        while answers := self._asking.answers(SQLITE_DECIDED_AT_ONCE):
            _log(self._watch.receive(answers))
            self._pause()

    def _decide(self) -> None:
        until = time.monotonic() + LONGEST_RUN
        while time.monotonic() < until:
            decided = self._watch.decide()
            for question in decided.questions:
                self._asking.put(question)
            _log(decided)
            if not decided.looked_at:
                return
            self._pause()

    def _pause(self) -> None:
        if self._database.is_sqlite:
            time.sleep(PAUSE_SECONDS)


def _log(decided: Decided) -> None:
    opened = [
        (session_id, after.overdue)
        for session_id, before, after in decided.found
        if before.overdue is None and after.overdue is not None
    ]
    for session_id, overdue in opened[:MOST_LOGGED]:
        log.warning("session is overdue: session=%s kind=%s why=%s", session_id, overdue.kind, overdue.why)
    if len(opened) > MOST_LOGGED:
        log.warning("more sessions are overdue: count=%d", len(opened) - MOST_LOGGED)
