"""A bounded pool of connections that gives back what is idle, and lends none that is not fit for use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, Pool

IDLE_SECONDS: Final = 60.0
WAIT_SECONDS: Final = 2  # for a connection that others use


class BoundedPool(Pool):
    """At most `size` connections. Who used one last is served last, so that a few serve a quiet time.

    SQLAlchemy's own pool keeps every connection for ever, or makes a new one for each peak.
    """

    def __init__(self, creator: Callable[[], Any], size: int, is_fit: Callable[[Any], bool]) -> None:
        super().__init__(creator)
        self._slots = threading.BoundedSemaphore(size)
        self._is_fit = is_fit
        self._idle_seconds = IDLE_SECONDS
        self._idle: list[tuple[float, ConnectionPoolEntry]] = []  # returned at, the latest last
        self._idle_lock = threading.Lock()

    def close_idle(self, idle_seconds: float | None = None) -> None:
        """Close what nobody has used for so long."""
        limit = time.monotonic() - (self._idle_seconds if idle_seconds is None else idle_seconds)
        while (record := self._take_oldest(limit)) is not None:
            record.close()

    def dispose(self) -> None:
        self.close_idle(0)

    def _do_get(self) -> ConnectionPoolEntry:
        if not self._slots.acquire(timeout=remaining(WAIT_SECONDS)):
            raise PoolTimeout("all connections are in use")
        try:
            while (record := self._take_latest()) is not None:
                if self._is_fit(record.dbapi_connection):
                    return record
                record.close()
            return self._create_connection()
        except BaseException:
            self._slots.release()
            raise

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        try:
            if record.dbapi_connection is not None and self._is_fit(record.dbapi_connection):
                with self._idle_lock:
                    self._idle.append((time.monotonic(), record))
            else:
                record.close()
        finally:
            self._slots.release()
        self.close_idle()

    def _take_latest(self) -> ConnectionPoolEntry | None:
        with self._idle_lock:
            return self._idle.pop()[1] if self._idle else None

    def _take_oldest(self, limit: float) -> ConnectionPoolEntry | None:
        with self._idle_lock:
            return self._idle.pop(0)[1] if self._idle and self._idle[0][0] <= limit else None


class _Deadline(threading.local):
    at: float | None = None


_deadline = _Deadline()


@contextmanager
def until(deadline: float | None) -> Iterator[None]:
    """Inside, this thread neither waits for a connection nor makes one beyond `deadline` (monotonic)."""
    _deadline.at = deadline
    try:
        yield
    finally:
        _deadline.at = None


def remaining(otherwise: float) -> float:
    """Seconds until the deadline of this thread, which are `otherwise` where there is none."""
    return otherwise if _deadline.at is None else max(0.0, _deadline.at - time.monotonic())
