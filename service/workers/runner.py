"""The thread of a worker, which runs again and again, whatever happens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from service.log_lines import fields
from service.store.engine import DatabaseUnavailable

log = logging.getLogger(__name__)


class Runner:
    """Calls `run_once` with the time (UTC) every `interval_seconds`, whatever it raises.

    When it is woken it does so earlier, but with `pause_seconds` between two at least. Start it after the
    fork.
    """

    def __init__(
        self,
        name: str,
        run_once: Callable[[datetime], None],
        interval_seconds: float,
        clock: Callable[[], datetime],
        pause_seconds: float = 0.0,
    ) -> None:
        self._name = name
        self._run_once = run_once
        self._interval = interval_seconds
        self._clock = clock
        self._pause = pause_seconds
        self._woken = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Any thread may; it never waits."""
        if not self._woken.is_set():  # which is cheaper
            self._woken.set()

    def end(self) -> None:
        """What it is at, it may finish; `join` waits for that."""
        self._ended.set()
        self._woken.set()

    def join(self, seconds: float) -> None:
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._ended.wait(self._pause):
            self._woken.wait(self._interval - self._pause)
            self._woken.clear()
            if self._ended.is_set():
                return
            try:
                self._run_once(self._clock())
            except DatabaseUnavailable as error:
                named = fields(worker=self._name, error=error)
                log.warning("the database is unavailable, will try again", extra=named)
            except Exception:  # a thread that ends is noticed by nobody
                log.exception("a worker failed, will try again", extra=fields(worker=self._name))
