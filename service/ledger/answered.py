"""How many callbacks this process answered 200: in memory, until the database can be told."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

from service.domain.ids import period_of

HELD: Final = 60  # periods, an hour: told again with each new one, for the database may go back in time
MOST_UNSAVED: Final = 1500  # periods, more than a day; beyond that the oldest are forgotten


class Answered:
    """By the period in which each was received. `count` waits for no disk; any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._saved: dict[str, int] = {}

    def count(self, delivery_id: str) -> None:
        """It is durable, and answered 200 now."""
        period = period_of(delivery_id)
        with self._lock:
            self._counts[period] = self._counts.get(period, 0) + 1

    def unsaved(self) -> Mapping[str, int]:
        """What has changed since it was saved; all that is held, once a period has begun."""
        with self._lock:
            if self._counts.keys() - self._saved.keys():
                return dict(self._counts)
            return {period: n for period, n in self._counts.items() if self._saved[period] != n}

    def saved(self, counts: Mapping[str, int]) -> None:
        with self._lock:
            self._saved.update(counts)
            newest = sorted(self._counts, reverse=True)
            done = [one for one in newest[HELD:] if self._saved.get(one) == self._counts[one]]
            for period in [*done, *newest[MOST_UNSAVED:]]:
                self._counts.pop(period, None)
                self._saved.pop(period, None)
