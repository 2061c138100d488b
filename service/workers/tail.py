"""Tells those that wait which events were numbered since."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

from service.ledger.waiters import Waiters
from service.store import feed
from service.store.engine import Database

MOST_AT_ONCE: Final = 1000


class Tail:
    """Reads nothing while nobody waits."""

    def __init__(self, database: Database, waiters: Waiters) -> None:
        self._database = database
        self._waiters = waiters
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def run_once(self, _now: datetime) -> None:
        """Raises DatabaseError."""
        after = self._waiters.told
        if after is None or self._loop is None or not self._database.breaker.answers:
            return
        with self._database.read() as db:
            heads = feed.heads(db, after, MOST_AT_ONCE)
        if heads:
            self._loop.call_soon_threadsafe(self._waiters.tell, after, heads)
