"""Stores what the callback endpoint rejected, in its own time."""

from __future__ import annotations

from datetime import datetime

from service.ledger.rejected import RejectedQueue


class RejectedWorker:
    def __init__(self, queue: RejectedQueue) -> None:
        self._queue = queue

    def run_once(self, now: datetime) -> None:
        """Raises DatabaseError."""
        self._queue.write(now)
