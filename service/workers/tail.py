"""Tells those who wait what was numbered since; one query for all of them, and none while nobody waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from service.store import feed, numbered
from service.store.engine import Database
from service.store.numbered import MOST_AT_ONCE, Numbered


class Readers(Protocol):
    """Who waits in this process. Called in the tail's thread."""

    @property
    def position(self) -> int | None:
        """Up to which they know all that was numbered; None while nobody waits."""

    def tell(self, after: int, events: Sequence[Numbered], last: int) -> None:
        """These are all that were numbered between the positions `after` and `last`.

        `last` is the lower one where the database was put back to an earlier state.
        """


class Tail:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.readers: Readers | None = None  # set once there can be any

    def run_once(self, _now: datetime) -> None:
        """Raises DatabaseError."""
        after = self.readers.position if self.readers else None
        while after is not None and self._database.breaker.answers:
            after = self._look(after)

    def _look(self, after: int) -> int | None:
        """Where to go on, if there may be more. What is told is taken later: `position` cannot say it."""
        assert self.readers is not None
        with self._database.read() as db:
            last = feed.last(db).position
            events = numbered.after(db, after) if last > after else []
        if len(events) == MOST_AT_ONCE:
            last = events[-1].position
        if last != after:
            self.readers.tell(after, events, last)
        return last if len(events) == MOST_AT_ONCE else None
