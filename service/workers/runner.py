"""The thread of a worker: it runs it again and again, whatever happens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from service.store.engine import DatabaseUnavailable

log = logging.getLogger(__name__)


class Worker(Protocol):
    def run_once(self, now: datetime) -> None:
        """What is due at `now` (UTC). May raise anything; it is run again all the same."""


class Runner:
    """Runs `worker` every `interval_seconds`; start it after the fork."""

    def __init__(
        self, name: str, worker: Worker, interval_seconds: float, clock: Callable[[], datetime]
    ) -> None:
        self._name = name
        self._worker = worker
        self._interval = interval_seconds
        self._clock = clock
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """What it is at, it may finish; `join` waits for that."""
        self._ended.set()

    def join(self, seconds: float) -> None:
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            try:
                self._worker.run_once(self._clock())
            except DatabaseUnavailable as error:
                log.warning("%s: the database is unavailable, will try again: %s", self._name, error)
            except Exception:  # a thread that ends is noticed by nobody
                log.exception("%s failed, will try again", self._name)
