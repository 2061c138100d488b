"""What is known of the database: whether it answers, and whether it takes writes. One for a process."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

SHORTEST_SECONDS: Final = 0.25
# Not longer, so that what waits is drained within 5 s once there is a primary again.
LONGEST_SECONDS: Final = 2.0
BUSY_SECONDS: Final = 2.0  # SQLite locked for so long is unavailable

log = logging.getLogger(__name__)


class Breaker:
    """Opened by whoever fails; closed only by a committed write. Readers look at plain attributes.

    `opened` tells how: `drop` is called then, so that no connection outlives an outage: it may lead to a
    primary that is none any more. Whoever began in an earlier `epoch` does not commit.
    """

    def __init__(self, drop: Callable[[], None]) -> None:
        self.answers = True
        self.takes_writes = True
        self.unavailable_since: datetime | None = None
        self.epoch = 0
        self._drop = drop
        self._turn = threading.Lock()  # of the one that may probe
        self._change = threading.Lock()
        self._pause = SHORTEST_SECONDS
        self._next = 0.0
        self._busy_since: float | None = None

    def stalled(self) -> None:
        """A live commit takes too long. It is the probe, for as long as it is pending."""
        self.opened("a commit takes too long", answers=self.answers)

    def opened(self, reason: str, *, answers: bool = False) -> None:
        with self._change:
            was_closed = self.takes_writes
            self.takes_writes, self.answers = False, answers
            if was_closed:
                self.epoch += 1
                self.unavailable_since = datetime.now(UTC)
        if was_closed:
            log.error("database unavailable, callbacks go to the spool: %s", reason)
            self._drop()

    def closed(self, *, is_probe: bool = False) -> None:
        """A write was committed; the back-off begins anew only once it was no probe."""
        with self._change:
            was_open = not self.takes_writes
            self.takes_writes = self.answers = True
            self.unavailable_since = self._busy_since = None
            if not is_probe:
                self._pause = SHORTEST_SECONDS
        if was_open:
            log.info("database available again")

    def busy(self) -> None:
        """Somebody else holds SQLite's write lock; for long, that is an outage too."""
        now = time.monotonic()
        self._busy_since = self._busy_since or now
        if now - self._busy_since > BUSY_SECONDS:
            self.opened("the database is locked", answers=True)

    @contextmanager
    def probe(self) -> Iterator[bool]:
        """Whether the caller is the one who may try now."""
        if time.monotonic() < self._next or not self._turn.acquire(blocking=False):
            yield False
            return
        try:
            yield True
        finally:
            self._next = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, LONGEST_SECONDS)
            self._turn.release()
