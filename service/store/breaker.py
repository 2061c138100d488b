"""The circuit breaker of a database: whether it answers, whether it takes writes, and who may try again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from service.store.errors import DatabaseUnavailable, Outage

FIRST_BACKOFF_SECONDS: Final = 0.25
# Whoever waits for the database waits this long at most once it is there again; five processes that
# try as rarely as that are no load for a server that has just begun.
LONGEST_BACKOFF_SECONDS: Final = 2.0

log = logging.getLogger(__name__)


class Breaker:
    """One for each database of a process; all its threads share it.

    Whoever fails opens it. Only a committed write closes it: that of the one probe, or a COMMIT that was
    on its way when it opened. Its attributes are read without a lock: they are true of a moment ago.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.answers = True
        self.takes_writes = True
        self.unavailable_since: datetime | None = None  # UTC
        self.epoch = 0  # a connection of an earlier one may lead to a server that is not the primary any more
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._reason = ""
        self._opened_at = 0.0
        self._backoff = FIRST_BACKOFF_SECONDS
        self._next_probe_at = 0.0
        self._is_probed = False
        self._failures = 0
        self._commits = 0  # that are on their way

    def check_reads(self) -> None:
        """Raises DatabaseUnavailable."""
        if not self.answers:
            raise DatabaseUnavailable(f"the database does not answer: {self._reason}")

    def check_writes(self) -> None:
        """Raises DatabaseUnavailable."""
        if not self.takes_writes:
            raise DatabaseUnavailable(f"the database takes no writes: {self._reason}")

    def failed(self, outage: Outage, reason: str) -> None:
        """Somebody's transaction failed for a cause that others will meet too, unless it is NONE."""
        if outage is Outage.NONE:
            return
        with self._lock:
            self._failures += 1
            if outage is Outage.WRITES:
                self.answers = True  # it did, though it refused
            self._open(outage, reason)

    def stalled(self) -> None:
        """A write takes too long. If it is at its COMMIT, that may close the breaker when it ends."""
        with self._lock:
            self._open(Outage.WRITES, "a write takes too long")

    @contextmanager
    def probe(self) -> Iterator[bool]:
        """Whether its caller may try to write now: while the breaker is open, one thread at a time.

        Not before the back-off has passed, nor while a COMMIT is still on its way.
        """
        if not self._begin_probe():
            yield self.takes_writes
            return
        failures = self._failures
        try:
            yield True
        finally:
            self._end_probe(has_failed=self._failures > failures)

    @contextmanager
    def committing(self, epoch: int, *, resets_backoff: bool) -> Iterator[None]:
        """Around a COMMIT on a connection of `epoch`, and nothing else.

        Raises DatabaseUnavailable without running it if the breaker has opened since it was made.
        """
        with self._lock:
            if epoch != self.epoch:
                raise DatabaseUnavailable(f"the database was lost before the commit: {self._reason}")
            self._commits += 1
        try:
            yield
            with self._lock:
                if resets_backoff:
                    self._backoff = FIRST_BACKOFF_SECONDS
                if not self.takes_writes:
                    self._close()
        finally:
            with self._lock:
                self._commits -= 1

    def _begin_probe(self) -> bool:
        with self._lock:
            may_probe = (
                not self.takes_writes
                and not self._is_probed
                and not self._commits
                and self._monotonic() >= self._next_probe_at
            )
            self._is_probed = self._is_probed or may_probe
            return may_probe

    def _end_probe(self, *, has_failed: bool) -> None:
        with self._lock:
            self._is_probed = False
            # A conflict, or a record at fault, says nothing about the database.
            if has_failed:
                self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)
            self._next_probe_at = self._monotonic() + self._backoff

    def _open(self, outage: Outage, reason: str) -> None:
        loses_reads = outage is Outage.ALL and self.answers
        if not self.takes_writes and not loses_reads:
            return
        if self.takes_writes:
            self.unavailable_since = datetime.now(UTC)
            self._opened_at = self._monotonic()
            self._next_probe_at = self._opened_at + self._backoff
        self._reason = reason
        self.takes_writes = False
        if loses_reads:
            self.answers = False
        self.epoch += 1
        log.error("the database %s: %s", "takes no writes" if self.answers else "does not answer", reason)

    def _close(self) -> None:
        log.info("the database takes writes again, after %.1f s", self._monotonic() - self._opened_at)
        self.answers = self.takes_writes = True
        self.unavailable_since = None
