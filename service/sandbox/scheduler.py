"""Does work when it is due: one thread waits, and each piece of work gets a thread of its own."""

import sched
import threading
import time
from collections.abc import Callable
from contextlib import suppress


class Scheduler:
    """Work with a due time, done between `open` and `close`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting = sched.scheduler(time.monotonic)
        self._running = 0
        self._closed = threading.Event()  # a new one at each `open`, so that old threads still end

    def open(self) -> None:
        self._closed = threading.Event()
        threading.Thread(
            target=self._run, args=(self._closed,), name="sandbox-scheduler", daemon=True
        ).start()

    def close(self) -> None:
        """Drop what waits, and what is added from now on; what is running may finish."""
        with self._changed:
            self._closed.set()
            for entry in self._waiting.queue:
                self.cancel(entry)
            self._changed.notify_all()

    def add(self, after_seconds: float, work: Callable[[], object]) -> sched.Event | None:
        """Do `work` after `after_seconds`."""
        with self._changed:
            if self._closed.is_set():
                return None
            self._changed.notify_all()
            return self._waiting.enter(after_seconds, 0, self._begin, (work,))

    def cancel(self, entry: sched.Event) -> None:
        """Drop what was added, unless it has begun."""
        with self._changed, suppress(ValueError):
            self._waiting.cancel(entry)
            self._changed.notify_all()

    def sleep(self, seconds: float) -> bool:
        """For work that has to wait: False if the scheduler was closed meanwhile."""
        return not self._closed.wait(seconds)

    def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Wait until nothing waits or runs; False if that took too long."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._waiting.empty() and not self._running, timeout_seconds
            )

    def _run(self, closed: threading.Event) -> None:
        with self._changed:
            while not closed.is_set():
                self._changed.wait(self._waiting.run(blocking=False))

    def _begin(self, work: Callable[[], object]) -> None:
        self._running += 1
        threading.Thread(target=self._do, args=(work,), name="sandbox-work", daemon=True).start()

    def _do(self, work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()
