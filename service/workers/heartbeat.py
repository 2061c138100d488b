"""Says in the database that this process is alive, and what waits on its disk."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta

from service.domain.ids import new_id
from service.ledger.backlog import Backlog
from service.store import processes
from service.store.engine import Database


class Heartbeat:
    """One row of this process. `now` is only used for what is on this host's disk, by this host's clock."""

    def __init__(self, database: Database, backlog: Backlog) -> None:
        self._database = database
        self._backlog = backlog
        self._id = new_id()
        self._host = socket.gethostname()

    def run_once(self, now: datetime) -> None:
        """Raises DatabaseError."""
        if self._database.breaker.takes_writes:
            self.beat(now)

    def beat(self, now: datetime, *, is_probe: bool = False) -> None:
        """Raises DatabaseError."""
        depth = self._backlog.depth()
        age = depth.age if depth else None
        oldest = None if age is None else now - timedelta(seconds=age)
        unavailable_since = self._database.breaker.unavailable_since
        with self._database.begin(is_probe=is_probe) as db:
            processes.beat(db, self._id, self._host, oldest, unavailable_since)
