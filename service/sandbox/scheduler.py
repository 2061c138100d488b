"""Does work now or later, each piece on a thread of its own, and knows when nothing is left to do."""

from collections.abc import Callable
from threading import Condition, Event, Timer


class Scheduler:
    """Work that waits or runs, until `close`."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._timers: set[Timer] = set()
        self._closed = Event()

    def open(self) -> None:
        """Take work again after a close."""
        self._closed = Event()  # a new one, so that what slept before the close still ends

    def close(self) -> None:
        """Drop what waits, and what is added from now on; what is running may finish."""
        with self._changed:
            self._closed.set()
            for timer in tuple(self._timers):
                self.cancel(timer)

    def add(self, after_seconds: float, work: Callable[[], object]) -> Timer:
        """Do `work` after `after_seconds`."""

        def run() -> None:
            try:
                work()
            finally:
                self.cancel(timer)

        timer = Timer(after_seconds, run)
        timer.daemon = True
        with self._changed:
            if not self._closed.is_set():
                self._timers.add(timer)
                timer.start()
        return timer

    def cancel(self, timer: Timer) -> None:
        """Drop what was added, unless it has begun; then nobody waits for it any more."""
        timer.cancel()
        with self._changed:
            self._timers.discard(timer)
            self._changed.notify_all()

    def sleep(self, seconds: float) -> bool:
        """For work that has to wait: False if the scheduler was closed meanwhile."""
        return not self._closed.wait(seconds)

    def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Wait until nothing waits or runs; False if that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._timers, timeout_seconds)
