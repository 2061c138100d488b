"""Full collections of Python's garbage, which hold up every thread: while no callback waits, if they can."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

# A thousand waiting readers are a hundred thousand objects, and looking through them takes some 70 ms.
YOUNGER: Final = 10  # collections of younger objects since the last full one: Python's own measure
BY_ITSELF: Final = 1000  # after so many of them Python does not wait for us
LONGEST_SECONDS: Final = 60.0  # that callbacks may put it off


def leave_out_all_so_far() -> None:
    """What was built before the first request stays for ever: nobody is to look through it again."""
    gc.collect()
    gc.freeze()


class Garbage:
    """From the start of the first run on, Python leaves full collections to it."""

    def __init__(self, callbacks_wait: Callable[[], bool]) -> None:
        self._callbacks_wait = callbacks_wait
        self._collected_at = time.monotonic()

    def run_once(self, _now: datetime) -> None:
        gc.set_threshold(*gc.get_threshold()[:2], BY_ITSELF)
        if gc.get_count()[2] < YOUNGER:
            return
        if self._callbacks_wait() and time.monotonic() < self._collected_at + LONGEST_SECONDS:
            return
        gc.collect()
        self._collected_at = time.monotonic()
