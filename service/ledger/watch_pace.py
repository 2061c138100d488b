"""How much the watch does at once, so that callbacks are not kept waiting."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

MOST: Final = 500
FEWEST: Final = 70  # more compute for longer, in the process that answers callbacks
AIM_SECONDS: Final = 0.007
# Who writes to SQLite keeps callbacks waiting: 20 ms at most, and the machine may be busy.
SQLITE_FEWEST: Final = 30  # with fewer, it is the commits that take the time
SQLITE_AIM_SECONDS: Final = 0.005


class Portion:
    """How many rows are for one transaction: as many as the ones before did in the time that it may take."""

    def __init__(self, *, is_sqlite: bool) -> None:
        self._fewest = SQLITE_FEWEST if is_sqlite else FEWEST
        self._aim = SQLITE_AIM_SECONDS if is_sqlite else AIM_SECONDS
        self.size = self._fewest

    def took(self, rows: int, seconds: float) -> None:
        """So long for so many."""
        if seconds > self._aim:
            self.size = max(self._fewest, self.size // 2)
        elif rows >= self.size:
            self.size = min(MOST, self.size + self.size // 4)


class Turns:
    """Moments at which to look again, so far apart that no more than `per_second` come at once."""

    def __init__(self, pause: timedelta, per_second: int) -> None:
        self._pause = pause
        self._step = timedelta(seconds=1) / per_second
        self._last: datetime | None = None

    def take(self, now: datetime) -> datetime:
        """The next one that is free, after the pause at the earliest."""
        earliest = now + self._pause
        self._last = earliest if self._last is None else max(earliest, self._last + self._step)
        return self._last
