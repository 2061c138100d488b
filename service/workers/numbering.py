"""Gives committed events their positions, and knows how far it is behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from service.ledger.numbering import number
from service.store.engine import Database

BATCHES_AT_ONCE: Final = 20
PAUSE_SECONDS: Final = 0.05  # between two; on SQLite, callbacks get their turn
REST: Final = 4  # times as long as the last time took


@dataclass(frozen=True)
class Lag:
    """At the last look so many had no position. All that were committed `seconds` ago have theirs."""

    unnumbered: int
    seconds: float


class Numbering:
    """Of all processes at once; whose turn it is, the database decides. `numbered` is called after each."""

    def __init__(self, database: Database, numbered: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._numbered = numbered
        self._seen: tuple[Lag, float] | None = None  # at the look that began then (monotonic)
        self._rests_until = 0.0

    def run_once(self, _now: datetime) -> None:
        """Raises DatabaseError."""
        began = time.monotonic()
        if began < self._rests_until:
            return
        for _ in range(BATCHES_AT_ONCE):
            if not self._database.breaker.takes_writes:
                return
            if not self._number():
                return
            time.sleep(PAUSE_SECONDS)

    def lag(self) -> Lag | None:
        """From memory; None before the first look. It grows while nobody looks."""
        if self._seen is None:
            return None
        seen, looked_at = self._seen
        return Lag(seen.unnumbered, seen.seconds + time.monotonic() - looked_at)

    def _number(self) -> bool:
        """Whether there is more to do at once."""
        began = time.monotonic()
        try:
            given, left = number(self._database)
        finally:
            ended = time.monotonic()
            self._rests_until = ended + REST * (ended - began)
        self._seen = Lag(left.count, left.oldest_seconds), began
        if given:
            self._numbered()
        return bool(given and left.count)
