"""Telnyx is asked for calls, beside whoever wants to know, within a budget and a few at once."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from service.domain.notice import Error, ErrorKind
from service.domain.overdue import Call
from service.ledger.look import Answer, Question
from service.log_lines import fields

ASKED_AT_ONCE: Final = 8
MOST_WAITING: Final = 64
STALE_SECONDS: Final = 30.0  # what has waited for so long is not asked any more
MINUTE: Final = 60.0
BACK_OFF: Final = timedelta(seconds=30)  # after a 429 that names no wait
LONGEST_BACK_OFF: Final = timedelta(minutes=10)

log = logging.getLogger(__name__)


class Budget:
    """So many questions for each account in any minute, in this process; none while Telnyx has too many."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._spent: dict[str, deque[float]] = {}
        self._none_until: dict[str, float] = {}

    def take(self, account_sid: str) -> bool:
        now = self._clock()
        spent = self._spent.setdefault(account_sid, deque())
        while spent and spent[0] <= now - MINUTE:
            spent.popleft()
        if len(spent) >= self._per_minute or now < self._none_until.get(account_sid, now):
            return False
        spent.append(now)
        return True

    def back_off(self, account_sid: str, wait: timedelta | None) -> None:
        seconds = min(wait or BACK_OFF, LONGEST_BACK_OFF).total_seconds()
        self._none_until[account_sid] = self._clock() + seconds


class Asking:
    """`ask` is the request; `has_key` says for which accounts there is one. Its threads end with the process.

    One thread may ask and take answers.
    """

    def __init__(
        self,
        ask: Callable[[str, str], Call | Error],
        has_key: Callable[[str], bool],
        budget: Budget,
        *,
        is_on: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._has_key = has_key
        self._budget = budget
        self._is_on = is_on
        self._clock = clock
        self._waiting: queue.Queue[tuple[float, Question]] = queue.Queue()
        self._answers: deque[Answer] = deque()
        self._threads = 0

    def is_possible(self, account_sid: str) -> bool:
        return self._is_on and self._has_key(account_sid)

    def may(self, account_sid: str) -> bool:
        """Spends the budget of one question."""
        has_room = self._waiting.qsize() < MOST_WAITING
        return has_room and self.is_possible(account_sid) and self._budget.take(account_sid)

    def put(self, question: Question) -> None:
        """Does not wait."""
        self._waiting.put((self._clock(), question))
        if self._threads < ASKED_AT_ONCE:
            self._threads += 1
            threading.Thread(target=self._run, name="asking", daemon=True).start()

    def answers(self, most: int) -> list[Answer]:
        """What has come since. What Telnyx did not answer is left out: nobody has learned anything."""
        return [self._answers.popleft() for _ in range(min(most, len(self._answers)))]

    def put_back(self, answers: Sequence[Answer]) -> None:
        """They could not be written down; they are the next ones again."""
        self._answers.extendleft(reversed(answers))

    def _run(self) -> None:
        while True:
            since, question = self._waiting.get()
            if self._clock() - since < STALE_SECONDS:
                try:
                    self._ask_one(question)
                except Exception:  # a thread that ends is noticed by nobody
                    log.exception("asking for a call failed", extra=fields(session_id=question.session_id))

    def _ask_one(self, question: Question) -> None:
        result = self._ask(question.account_sid, question.call_sid)
        if isinstance(result, Call):
            self._answers.append(Answer(question, result))
        elif result.status == 404:
            self._answers.append(Answer(question, None))
        elif result.kind is ErrorKind.RATE_LIMITED:
            self._budget.back_off(question.account_sid, result.retry_after)
            log.warning("telnyx has too many questions", extra=fields(account_sid=question.account_sid))
