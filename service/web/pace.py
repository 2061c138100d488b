"""Callbacks come first: what others get of a process that is busy with them."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

SHARE: Final = 0.3  # of the time, while callbacks wait
LIKELY_SECONDS: Final = 0.005  # that a request computes; corrected once it is known
LONGEST_DEBT: Final = 1.0  # seconds
LOOK_SECONDS: Final = 0.02  # how often who waits looks whether callbacks still do

REJECTIONS: Final = 100  # a second that are answered at once
LONGEST_DELAY: Final = 1.0  # seconds


class ReadPace:
    """Who reads computes for at most SHARE of the time, all together, while callbacks wait.

    Threads that compute take turns of the interpreter with the event loop and the writer, and there may be
    many of them: without this, eight that list sessions leave callbacks a third. Used from any thread.
    """

    def __init__(self, callbacks_wait: Callable[[], bool]) -> None:
        self._callbacks_wait = callbacks_wait
        self._lock = threading.Lock()
        self._free_at = 0.0  # monotonic

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one's turn. What is computed inside is counted; waiting for the database is not."""
        while wait := self._take():
            time.sleep(min(wait, LOOK_SECONDS))
        began = time.thread_time()
        try:
            yield
        finally:
            self._charge(time.thread_time() - began - LIKELY_SECONDS)

    def _take(self) -> float:
        """0 if the turn is taken, else in how many seconds it may be."""
        with self._lock:
            now = time.monotonic()
            if self._free_at > now and self._callbacks_wait():
                return self._free_at - now
            self._free_at = max(self._free_at, now) + LIKELY_SECONDS / SHARE
            return 0.0

    def _charge(self, seconds: float) -> None:
        with self._lock:
            self._free_at = min(self._free_at + seconds / SHARE, time.monotonic() + LONGEST_DEBT)


class RejectionPace:
    """Rejected callbacks are answered at once, so long as there are not more than REJECTIONS a second.

    Beyond, an answer waits for its turn, LONGEST_DELAY at most: who forges as fast as the last one is
    answered would keep the event loop from genuine ones. On the event loop.
    """

    def __init__(self) -> None:
        self._free_at = 0.0

    async def wait(self) -> None:
        now = time.monotonic()
        self._free_at = max(self._free_at, now - 1) + 1 / REJECTIONS
        if self._free_at > now + LONGEST_DELAY:
            spread = random.uniform(0.5, 1)  # noqa: S311  # or they would all be answered at once
            self._free_at = now + spread * LONGEST_DELAY
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)
