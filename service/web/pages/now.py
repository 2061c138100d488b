"""The page Now: is all well, and if not, which calls, whose side, what to do."""

from __future__ import annotations

from typing import Any, Final

from flask import Response

from service.domain import alerts as alert_rules
from service.domain import causes
from service.domain.access import Accounts, Scope
from service.ledger import wellness
from service.store import alerts as store_alerts
from service.store import now as store_now
from service.store import processes
from service.store.engine import Database
from service.web import auth, context
from service.web.pages import guard
from service.web.pages.charts import day_of
from service.web.pages.shell import render
from service.wiring import Services

SCOPE = Scope.READ
MOST_OVERDUE = 12
MOST_ALERTS = 50
MOST_LOOKS: Final = 3


def show() -> Response:
    """At /, which is JSON for whoever does not ask for a page: `home` calls it."""
    guard.require(SCOPE)
    services = context.current().services
    for _ in range(MOST_LOOKS):
        own = _own_entries(services)
        seen = _look(services.database, auth.accounts())
        if own == _own_entries(services):
            break  # else what drained meanwhile is counted twice, or not at all
    takes_writes = services.database.breaker.takes_writes
    seen["well"] = wellness.seen_from(seen["well"], takes_writes=takes_writes, waiting=own)
    waiting = max(sum(one.entries + one.dead_letters for one in seen["spools"]), own)
    return render(
        "pages/now.html",
        place="now",
        most_in_progress=store_now.MOST_IN_PROGRESS,
        waiting=waiting,
        causes=causes.BY_OVERDUE_KIND,
        **seen,
    )


def _own_entries(services: Services) -> int:
    depth = services.backlog.depth()
    return depth.entries if depth else 0


def _look(database: Database, accounts: Accounts) -> dict[str, Any]:
    """What the database says, all of one moment."""
    with database.read() as db:
        now = processes.now_of(db)
        overdue = store_now.overdue(db, accounts, MOST_OVERDUE + 1)
        alerts = store_alerts.page(db, accounts, True, None, MOST_ALERTS)
        return {
            "now": now,
            "well": wellness.look(db, now, accounts),
            "in_progress": store_now.in_progress(db, accounts),
            "overdue": overdue[:MOST_OVERDUE],
            "overdue_is_all": len(overdue) <= MOST_OVERDUE,
            "day": day_of(store_now.starts(db, accounts, now), now),
            "callbacks": store_now.callbacks(db, accounts, now),
            "alerts": [(one, alert_rules.of(one.cause)) for one in alerts],
            "spools": store_now.spools(db),
            "processes": store_now.processes(db, now),
            # Nothing vouches for the account that a rejected callback names.
            "rejected": store_now.rejected(db) if accounts is None else None,
        }
