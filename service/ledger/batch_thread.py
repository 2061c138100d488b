"""A thread that takes all that waits as one batch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeVar

LARGEST: Final = 256

T = TypeVar("T")

log = logging.getLogger(__name__)


class BatchThread(Generic[T]):
    """Hands what was `put` to `work`, at most LARGEST at once, and goes on whatever that raises.

    `work` may change `in_hand`, which others read; `began` (monotonic) is when it got the batch.
    """

    def __init__(self, name: str, work: Callable[[Sequence[T]], None]) -> None:
        self._name = name
        self._work = work
        self._queue: SimpleQueue[T | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.in_hand: Sequence[T] = ()
        self.began = 0.0

    @property
    def waiting(self) -> int:
        """How many were put that `work` has not got yet."""
        return self._queue.qsize()

    def start(self) -> None:
        self._thread.start()

    def put(self, one: T) -> None:
        """Never blocks."""
        self._queue.put(one)

    def stop(self, seconds: float) -> None:
        """When all that was put before is done, but at the latest after so many seconds."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while batch := self._take():
            self.began, self.in_hand = time.monotonic(), batch
            try:
                self._work(batch)
            except BaseException:  # the next ones are not to wait for ever
                log.exception("the %s failed, goes on with the next batch", self._name)
            self.in_hand = ()

    def _take(self) -> list[T]:
        """What waits, the oldest first; nothing when it is time to stop."""
        batch: list[T] = []
        one = self._queue.get()
        while one is not None:
            batch.append(one)
            if len(batch) == LARGEST:
                return batch
            try:
                one = self._queue.get_nowait()
            except Empty:
                return batch
        if batch:
            self._queue.put(None)  # stop after this one
        return batch
