"""Does work later, each piece on a thread of its own, and knows when nothing is left to do."""

from collections.abc import Callable
from threading import Condition, Event, Timer
from weakref import WeakSet


class Scheduler:
    """Work that waits or runs, until `close`."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._unfinished: set[Callable[[], object]] = set()
        self._timers: WeakSet[Timer] = WeakSet()
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
        timer = Timer(after_seconds, self.unfinished(work))
        timer.daemon = True
        with self._changed:
            self._timers.add(timer)
            if self._closed.is_set():
                self.cancel(timer)
        timer.start()
        return timer

    def unfinished(self, work: Callable[[], object]) -> Callable[[], None]:
        """`work`, for the caller to do later; it counts as unfinished from now on."""

        def run() -> None:
            try:
                work()
            finally:
                self._finish(run)

        with self._changed:
            self._unfinished.add(run)
        return run

    def cancel(self, timer: Timer) -> None:
        """Drop what was added, unless it has begun; then nobody waits for it any more."""
        timer.cancel()
        self._finish(timer.function)

    def sleep(self, seconds: float) -> bool:
        """For work that has to wait: False if the scheduler was closed meanwhile."""
        return not self._closed.wait(seconds)

    def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Wait until nothing waits or runs; False if that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._unfinished, timeout_seconds)

    def _finish(self, run: Callable[[], object]) -> None:
        with self._changed:
            self._unfinished.discard(run)
            self._changed.notify_all()
