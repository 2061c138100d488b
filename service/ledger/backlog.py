"""What could not be written yet: answers of Telnyx that found neither database nor spool wait in memory."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from service.ledger import spool_entry
from service.ledger.errors import UnknownSession
from service.ledger.spool_entry import UnsavedAnswer
from service.spool import Spool, SpoolUnusable
from service.store.engine import DatabaseError, DatabaseUnavailable

MOST_IN_MEMORY = 10_000

log = logging.getLogger(__name__)


class Backlog:
    def __init__(self, spool: Spool | None) -> None:
        self._spool = spool
        self._in_memory: deque[UnsavedAnswer] = deque(maxlen=MOST_IN_MEMORY)

    def save_later(self, answer: UnsavedAnswer) -> None:
        try:
            if self._spool is not None:
                self._spool.append([spool_entry.pack(answer)])
                return
        except SpoolUnusable as error:
            log.error("answer kept in memory only: session=%s: %s", answer.session_id, error)
        self._in_memory.append(answer)

    def save_pending(self, save: Callable[[UnsavedAnswer], object]) -> None:
        """Write down what waits in memory. Raises DatabaseUnavailable."""
        while self._in_memory:
            answer = self._in_memory[0]
            try:
                save(answer)
                log.info("answer saved: session=%s", answer.session_id)
            except DatabaseUnavailable:
                raise
            except (DatabaseError, UnknownSession) as error:  # its session will be unanswered
                log.error("answer given up: session=%s: %s", answer.session_id, error)
            self._in_memory.popleft()
