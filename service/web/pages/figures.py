"""What the page Now shows, looked up once for all who may see the same, and kept for a moment."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from service.domain.access import ALL_ACCOUNTS, Accounts
from service.domain.state import State
from service.ledger import wellness
from service.ledger.wellness import Wellness
from service.store import alerts as store_alerts
from service.store import now as store_now
from service.store import processes
from service.store.alerts import Alert
from service.store.engine import Database
from service.store.now import Callbacks, OverdueSession
from service.web.pages.charts import Day, day_of
from service.wiring import Services

KEPT_SECONDS: Final = 3.0
MOST_KEPT: Final = 100  # of so many different limits of keys
MOST_OVERDUE: Final = 12
MOST_ALERTS: Final = 50
MOST_LOOKS: Final = 3


@dataclass(frozen=True)
class Figures:
    """At `now` (UTC), by the database's clock.

    What hosts have is for a key of all accounts: others see `callbacks`, and none of `spools`, `processes`
    and `rejected`, for nothing vouches for the account that a rejected callback names.
    """

    now: datetime
    well: Wellness
    in_progress: Mapping[State, int]
    overdue: Sequence[OverdueSession]
    overdue_is_all: bool
    day: Day
    alerts: Sequence[Alert]
    own: int = 0  # entries in this process's spool
    callbacks: Callbacks | None = None
    spools: Sequence[Any] = ()
    processes: Sequence[Any] = ()
    rejected: Mapping[str, int] | None = None


class RecentFigures:
    """Any thread may use it. Who comes while somebody looks waits for what he finds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[Accounts, _Kept] = defaultdict(_Kept)

    def of(self, services: Services, accounts: Accounts) -> Figures:
        """Not older than KEPT_SECONDS. Raises DatabaseError."""
        with self._lock:
            if len(self._of) >= MOST_KEPT:
                self._of.clear()
            kept = self._of[accounts]
        return kept.get(services, accounts)


class _Kept:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Figures | None = None
        self._looked_at = 0.0  # monotonic

    def get(self, services: Services, accounts: Accounts) -> Figures:
        with self._lock:
            began = time.monotonic()
            if self._found is None or began - self._looked_at >= KEPT_SECONDS:
                self._found = _look(services, accounts)
                self._looked_at = began
            return self._found


def own_entries(services: Services) -> int:
    """What waits in this process's spool: the next heartbeat tells it to all."""
    depth = services.backlog.depth()
    return depth.entries if depth else 0


def _look(services: Services, accounts: Accounts) -> Figures:
    for _ in range(MOST_LOOKS):
        own = own_entries(services)
        found = look(services.database, accounts)
        if own == own_entries(services):
            break  # else what drained meanwhile is counted twice, or not at all
    return replace(found, own=own)


def look(database: Database, accounts: Accounts) -> Figures:
    """What the database says, all of one moment. Raises DatabaseError."""
    with database.read() as db:
        now = processes.now_of(db)
        overdue = store_now.overdue(db, accounts, MOST_OVERDUE + 1)
        found = Figures(
            now=now,
            well=wellness.look(db, now, accounts),
            in_progress=store_now.in_progress(db, accounts),
            overdue=overdue[:MOST_OVERDUE],
            overdue_is_all=len(overdue) <= MOST_OVERDUE,
            day=day_of(store_now.starts(db, accounts, now), now),
            alerts=store_alerts.page(db, accounts, True, None, MOST_ALERTS),
        )
        if accounts is not ALL_ACCOUNTS:
            return replace(found, callbacks=store_now.callbacks(db, accounts, now))
        return replace(
            found,
            spools=store_now.spools(db),
            processes=store_now.processes(db, now),
            rejected=store_now.rejected(db),
        )
