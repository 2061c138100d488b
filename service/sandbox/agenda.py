"""Does what is due when it is due, on daemon threads that end when it closes."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Work = Callable[[], object]
Entry = tuple[float, int, Work]

MOST_WORKERS = 64


class Agenda:
    """Work with a due time. Whatever was added and is not done yet counts as unfinished."""

    def __init__(self) -> None:
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._finished = threading.Condition(lock)
        self._numbers = (
            itertools.count()
        )  # decides between entries due at once, so that work is never compared
        self._entries: list[Entry] = []
        self._unfinished = 0
        self._idle = 0
        self._workers: list[threading.Thread] = []
        self._is_closed = False

    def add(self, after_seconds: float, work: Work) -> Entry | None:
        """Do `work` after `after_seconds`. What comes after the close is dropped."""
        with self._changed:
            if self._is_closed:
                return None
            entry = (time.monotonic() + after_seconds, next(self._numbers), work)
            heapq.heappush(self._entries, entry)
            self._unfinished += 1
            self._hire()
            self._changed.notify()
            return entry

    def cancel(self, entry: Entry) -> None:
        """Drop what was added, unless it has begun."""
        with self._changed:
            if entry in self._entries:
                self._entries.remove(entry)
                heapq.heapify(self._entries)
                self._finish(1)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Counts as unfinished what goes on inside, so that nobody settles before its callbacks are added."""
        with self._changed:
            self._unfinished += 1
        try:
            yield
        finally:
            with self._changed:
                self._finish(1)

    def settle(self, timeout_seconds: float) -> bool:
        """Wait until nothing is unfinished; False if that took too long."""
        with self._finished:
            return self._finished.wait_for(lambda: self._unfinished == 0, timeout_seconds)

    def open(self) -> None:
        """Take work again after a close."""
        with self._changed:
            self._is_closed = False
            self._workers = [worker for worker in self._workers if worker.is_alive()]

    def close(self) -> None:
        """Drop what waits; what is being done may finish."""
        with self._changed:
            self._is_closed = True
            self._finish(len(self._entries))
            self._entries.clear()
            self._changed.notify_all()

    def join(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        for worker in list(self._workers):
            if worker is not threading.current_thread():
                worker.join(max(0.0, deadline - time.monotonic()))

    def _hire(self) -> None:
        if self._idle < len(self._entries) and len(self._workers) < MOST_WORKERS:
            worker = threading.Thread(target=self._labour, name="sandbox-callbacks", daemon=True)
            self._workers.append(worker)
            worker.start()

    def _labour(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            finally:
                with self._changed:
                    self._finish(1)

    def _next(self) -> Work | None:
        with self._changed:
            self._idle += 1
            try:
                while not self._is_closed:
                    wait_seconds = self._entries[0][0] - time.monotonic() if self._entries else None
                    if wait_seconds is not None and wait_seconds <= 0:
                        _, _, work = heapq.heappop(self._entries)
                        # another worker may be waiting for what was just taken: it must look again
                        self._changed.notify()
                        return work
                    self._changed.wait(wait_seconds)
                return None
            finally:
                self._idle -= 1

    def _finish(self, count: int) -> None:
        self._unfinished -= count
        if self._unfinished == 0:
            self._finished.notify_all()
