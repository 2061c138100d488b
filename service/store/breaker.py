"""Whether the database answers and takes writes, as its latest transactions found it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

log = logging.getLogger(__name__)

SHORTEST_SECONDS = 0.25
LONGEST_SECONDS = 5.0


class Breaker:
    """Opened by whoever fails, closed by a committed write."""

    def __init__(self) -> None:
        self.answers = True
        self.takes_writes = True
        self.unavailable_since: datetime | None = None
        self.epoch = 0
        self._turn = threading.Lock()
        self._pause = SHORTEST_SECONDS
        self._next = 0.0

    def stalled(self) -> None:
        self.opened("a commit takes too long")

    def opened(self, reason: str) -> None:
        if self.takes_writes:
            log.error("the database takes no writes: %s", reason)
            self.epoch += 1
            self.unavailable_since = datetime.now(UTC)
        self.takes_writes = False

    def closed(self) -> None:
        if not self.takes_writes:
            log.info("the database takes writes again")
        self.takes_writes, self.unavailable_since, self._pause = True, None, SHORTEST_SECONDS

    @contextmanager
    def probe(self) -> Iterator[bool]:
        if time.monotonic() < self._next or not self._turn.acquire(blocking=False):
            yield False
            return
        try:
            yield True
        finally:
            self._next = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, LONGEST_SECONDS)
            self._turn.release()
