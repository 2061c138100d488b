"""When genuine callbacks could not be kept: in memory, until the database can be told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from service.domain.ids import new_id

QUIET_SECONDS: Final = 12.0  # more than two heartbeats, which count too; without a further one it is over
MOST_PERIODS: Final = 100  # that wait to be written; then the last one grows instead


@dataclass(frozen=True)
class Period:
    """From the first to the last callback that was not kept (monotonic seconds)."""

    id: str
    began: float
    ended: float


class Missed:
    """The periods of this process. `count` may be called by any thread and never waits for a disk."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._unsaved: list[Period] = []
        self._last: Period | None = None

    def count(self) -> None:
        """One could not be kept, or none could have been."""
        now = self._monotonic()
        with self._lock:
            last = self._last
            is_same = last and (now - last.ended < QUIET_SECONDS or len(self._unsaved) >= MOST_PERIODS)
            self._last = replace(last, ended=now) if last and is_same else Period(new_id(), now, now)
            self._unsaved = [one for one in self._unsaved if one.id != self._last.id] + [self._last]

    def unsaved(self) -> Sequence[Period]:
        """What the database does not know; of one that goes on, its end until now."""
        return tuple(self._unsaved)

    def saved(self, periods: Sequence[Period]) -> None:
        with self._lock:
            self._unsaved = [one for one in self._unsaved if one not in periods]
