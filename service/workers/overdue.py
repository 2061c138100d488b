"""Finds what did not happen in time, and asks Telnyx for the calls."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from service.ledger import session_log
from service.ledger.watch import SQLITE_DECIDED_AT_ONCE, Answer, Decided, Watch
from service.log_lines import fact
from service.store.engine import Database
from service.workers.asking import Asking

LONGEST_RUN: Final = 5.0  # seconds for each of its two parts, so that neither keeps the other waiting
PAUSE_SECONDS: Final = 0.004  # between two transactions; on SQLite, callbacks get their turn
REST: Final = 5  # times as long as a transaction took, while callbacks wait
LONGEST_REST: Final = 1.0  # seconds; it may have waited for a lock, not computed
MOST_LOGGED: Final = 20  # of one run; the others are counted

log = logging.getLogger(__name__)


class Overdue:
    """While callbacks wait, it takes a sixth of the time, however far it is behind then."""

    def __init__(
        self,
        database: Database,
        watch: Watch,
        asking: Asking,
        callbacks_wait: Callable[[], bool],
        is_blindness_told: Callable[[], bool],
    ) -> None:
        self._database = database
        self._watch = watch
        self._asking = asking
        self._callbacks_wait = callbacks_wait
        self._is_blindness_told = is_blindness_told
        self._began = 0.0  # monotonic; the transaction that it is at

    def run_once(self, _now: datetime) -> None:
        """Raises DatabaseError."""
        if not self._database.breaker.takes_writes:
            return
        may_judge = self._is_blindness_told()
        if may_judge:
            self._receive()
        is_behind, has_due = self._watch.work()
        if is_behind:
            self._follow()
        if has_due and may_judge:
            self._decide()

    def _follow(self) -> None:
        self._began = time.monotonic()
        until = self._began + LONGEST_RUN
        while self._watch.follow() and self._began < until:
            self._pause()

    def _receive(self) -> None:
        self._began = time.monotonic()
        early: list[Answer] = []
        while answers := self._asking.answers(SQLITE_DECIDED_AT_ONCE):
            decided = self._watch.receive(answers)
            early += decided.early
            _log(decided)
            self._pause()
        self._asking.put_back(early)

    def _decide(self) -> None:
        self._began = time.monotonic()
        until = self._began + LONGEST_RUN
        while self._began < until:
            decided = self._watch.decide()
            for question in decided.questions:
                self._asking.put(question)
            _log(decided)
            if not decided.looked_at:
                return
            self._pause()

    def _pause(self) -> None:
        took = time.monotonic() - self._began
        if self._callbacks_wait():
            time.sleep(min(REST * took, LONGEST_REST))
        elif self._database.is_sqlite:
            time.sleep(PAUSE_SECONDS)
        self._began = time.monotonic()


def _log(decided: Decided) -> None:
    opened = [
        (session_id, after.overdue)
        for session_id, before, after in decided.found
        if before.overdue is None and after.overdue is not None
    ]
    for session_id, overdue in opened[:MOST_LOGGED]:
        session_log.overdue(session_id, overdue)
    if len(opened) > MOST_LOGGED:
        log.warning("more sessions are overdue", extra=fact(count=len(opened) - MOST_LOGGED))
