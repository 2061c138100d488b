"""The page Now: is all well, and if not, which calls, whose side, what to do."""

from __future__ import annotations

from flask import Response

from service.domain import causes
from service.domain.access import Scope
from service.domain.causes import Side
from service.ledger import wellness
from service.ledger.wellness import Reason, Wellness
from service.store import now as store_now
from service.store import processes
from service.web import auth, context
from service.web.pages import guard
from service.web.pages.charts import Day, day_of
from service.web.pages.shell import render

SCOPE = Scope.READ
MOST_OVERDUE = 12


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
        alerts = store_now.alerts(db, accounts)
        spools = store_now.spools(db)
        seen = store_now.processes(db, now)
        # Nothing vouches for the account that a rejected callback names.
        rejected = store_now.rejected(db) if accounts is None else None
    depth = services.backlog.depth()
    own = depth.entries if depth else 0
    waiting = max(sum(one.entries + one.dead_letters for one in spools), own)
    if own and well.is_well:  # the next heartbeat tells it to all
        well = Wellness((_waits_here(own),))
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
        alerts=[(one, causes.BY_CODE.get(one.cause)) for one in alerts],
        spools=spools,
        processes=seen,
        rejected=rejected,
        causes=causes.BY_OVERDUE_KIND,
    )


def _waits_here(entries: int) -> Reason:
    words = f"{entries:,} {'entry waits' if entries == 1 else 'entries wait'} in the spool of this process."
    what_to_do = "It drains by itself while the database takes writes; else look at the log."
    return Reason("spool_waits", words, Side.US, what_to_do, "/#spool")
