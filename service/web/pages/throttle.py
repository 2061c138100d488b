"""Who may try to log in how often; in the memory of each process."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

SECONDS: Final = 60.0
MOST_OF_ONE: Final = 10  # failures in SECONDS, of an address
MOST_OF_ALL: Final = 100
MOST_ADDRESSES: Final = 10_000


class Throttle:
    """Any thread may use it. It counts what failed: who has a key is never slowed down by using it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: dict[str, deque[float]] = {}
        self._all: deque[float] = deque()

    def wait_seconds(self, address: str) -> float:
        """How long until this address may try again; 0: now."""
        with self._lock:
            now = self._clock()
            of_one = _wait(self._failed.get(address, deque()), MOST_OF_ONE, now)
            return max(of_one, _wait(self._all, MOST_OF_ALL, now))

    def failed(self, address: str) -> None:
        with self._lock:
            if len(self._failed) >= MOST_ADDRESSES:
                self._failed.clear()
            now = self._clock()
            self._failed.setdefault(address, deque(maxlen=MOST_OF_ONE)).append(now)
            self._all.append(now)
            while len(self._all) > MOST_OF_ALL:
                self._all.popleft()


def _wait(failed: deque[float], most: int, now: float) -> float:
    """Until the oldest of the last `most` is SECONDS ago."""
    return max(0.0, failed[-most] + SECONDS - now) if len(failed) >= most else 0.0
