"""Finds what did not happen in time, and asks Telnyx for the calls."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from service.ledger import session_log
from service.ledger.look import Answer
from service.ledger.watch import Decided, Watch
from service.log_lines import fact, fields
from service.store.engine import Database, DatabaseError, RecordRefused
from service.workers.asking import Asking

LONGEST_RUN: Final = 10.0  # seconds
LONGEST_TURN: Final = 1.0  # seconds for each of its two parts, so that neither keeps the other waiting
RECEIVED_AT_ONCE: Final = 30
PAUSE_SECONDS: Final = 0.003  # between two transactions; on SQLite, callbacks get their turn
REST: Final = 1  # times as long as a transaction took, while callbacks wait
REST_BESIDE_MANY: Final = 4  # likewise, while many do
LONGEST_REST: Final = 1.0  # seconds; it may have waited for a lock, not computed
MOST_LOGGED: Final = 20

log = logging.getLogger(__name__)


class Overdue:
    """While callbacks wait, it takes half of the time at most; beside many, a fifth, however far behind."""

    def __init__(
        self,
        database: Database,
        watch: Watch,
        asking: Asking,
        callbacks_wait: Callable[[], bool],
        many_wait: Callable[[], bool],
        is_blindness_stored: Callable[[], bool],
    ) -> None:
        """`is_blindness_stored`: when this process was blind is written down, so that verdicts can say so."""
        self._database = database
        self._watch = watch
        self._asking = asking
        self._callbacks_wait = callbacks_wait
        self._many_wait = many_wait
        self._is_blindness_stored = is_blindness_stored
        self._lines = _Lines()
        self._began = 0.0  # monotonic; the transaction that it is at

    def run_once(self, _now: datetime) -> None:
        """Until there is nothing to do, or for LONGEST_RUN. Raises DatabaseError."""
        if not self._database.breaker.takes_writes:
            return
        self._lines, until = _Lines(), time.monotonic() + LONGEST_RUN
        try:
            while self._take_turns() and time.monotonic() < until:
                pass
        finally:
            self._lines.end()

    def _take_turns(self) -> bool:
        """Whether one of them was not done when its turn was over."""
        is_behind, has_due = self._watch.work()
        is_behind = is_behind and self._follow()
        if not self._is_blindness_stored():
            return False
        self._receive()
        return (has_due and self._decide()) or is_behind

    def _follow(self) -> bool:
        """Whether there is more; what comes meanwhile is for the next run, so that it is many at once."""
        self._began = time.monotonic()
        until = self._began + LONGEST_TURN
        while is_behind := self._watch.follow():
            self._pause()
            if self._began >= until:
                break
        return is_behind

    def _receive(self) -> None:
        early: list[Answer] = []
        try:
            self._receive_all(early)
        finally:
            self._asking.put_back(early)

    def _receive_all(self, early: list[Answer]) -> None:
        self._began = time.monotonic()
        most = RECEIVED_AT_ONCE
        while answers := self._asking.answers(most):
            try:
                decided = self._watch.receive(answers)
            except RecordRefused as error:
                if len(answers) > 1:
                    most = 1  # the others are not to blame
                    self._asking.put_back(answers)
                else:
                    named = fields(session_id=answers[0].question.session_id, error=error)
                    log.warning("what Telnyx said of a call cannot be written down", extra=named)
            except DatabaseError:
                self._asking.put_back(answers)
                raise
            else:
                early += decided.early
                self._lines.add(decided)
            self._pause()

    def _decide(self) -> bool:
        """Whether there may be more."""
        self._began = time.monotonic()
        until = self._began + LONGEST_TURN
        while self._began < until:
            decided = self._watch.decide()
            for question in decided.questions:
                self._asking.put(question)
            self._lines.add(decided)
            if decided.is_all:
                return False
            self._pause()
        return True

    def _pause(self) -> None:
        took = time.monotonic() - self._began
        if self._callbacks_wait():
            rest = REST_BESIDE_MANY if self._many_wait() else REST
            time.sleep(min(rest * took, LONGEST_REST))
        elif self._database.is_sqlite:
            time.sleep(PAUSE_SECONDS)
        self._began = time.monotonic()


class _Lines:
    """Of the log: MOST_LOGGED of one run; the others are counted."""

    def __init__(self) -> None:
        self._opened = 0

    def add(self, decided: Decided) -> None:
        for session_id, before, after in decided.found:
            if before.overdue is None and after.overdue is not None:
                self._opened += 1
                if self._opened <= MOST_LOGGED:
                    session_log.overdue(session_id, after.overdue)

    def end(self) -> None:
        if self._opened > MOST_LOGGED:
            log.warning("more sessions are overdue", extra=fact(count=self._opened - MOST_LOGGED))
