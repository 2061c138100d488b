"""The page Now: is all well, and if not, which calls, whose side, what to do."""

from __future__ import annotations

from flask import Response

from service.domain import alerts as alert_rules
from service.domain import causes
from service.domain.access import Scope
from service.ledger import wellness
from service.ledger.wellness import Wellness
from service.store import alerts as store_alerts
from service.store import now as store_now
from service.store import processes
from service.web import auth, context
from service.web.pages import guard
from service.web.pages.charts import Day, day_of
from service.web.pages.shell import render

SCOPE = Scope.READ
MOST_OVERDUE = 12
MOST_ALERTS = 50


def show() -> Response:
    """At /, which is JSON for whoever does not ask for a page: `home` calls it."""
    guard.require(SCOPE)
    accounts = auth.accounts()
    services = context.current().services
    with services.database.read() as db:
        now = processes.now_of(db)
        well = wellness.look(db, now, accounts)
        in_progress = store_now.in_progress(db, accounts)
        overdue = store_now.overdue(db, accounts, MOST_OVERDUE + 1)
        day: Day = day_of(store_now.starts(db, accounts, now), now)
        callbacks = store_now.callbacks(db, accounts, now)
        alerts = store_alerts.page(db, accounts, True, None, MOST_ALERTS)
        spools = store_now.spools(db)
        seen = store_now.processes(db, now)
        # Nothing vouches for the account that a rejected callback names.
        rejected = store_now.rejected(db) if accounts is None else None
    depth = services.backlog.depth()
    own = depth.entries if depth else 0
    waiting = max(sum(one.entries + one.dead_letters for one in spools), own)
    if own and well.is_well:  # the next heartbeat tells it to all
        well = Wellness((wellness.spool_waits(own, "in the spool of this process"),))
    return render(
        "pages/now.html",
        place="now",
        now=now,
        well=well,
        in_progress=in_progress,
        most_in_progress=store_now.MOST_IN_PROGRESS,
        overdue=overdue[:MOST_OVERDUE],
        overdue_is_all=len(overdue) <= MOST_OVERDUE,
        day=day,
        callbacks=callbacks,
        waiting=waiting,
        alerts=[(one, alert_rules.of(one.cause)) for one in alerts],
        spools=spools,
        processes=seen,
        rejected=rejected,
        causes=causes.BY_OVERDUE_KIND,
    )
