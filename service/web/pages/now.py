"""The page Now: is all well, and if not, which calls, whose side, what to do."""

from __future__ import annotations

from dataclasses import replace

from flask import Response, current_app

from service.domain import alerts as alert_rules
from service.domain import causes
from service.domain.access import Scope
from service.ledger import wellness
from service.store import now as store_now
from service.web import auth, context
from service.web.pages import guard
from service.web.pages.figures import RecentFigures, own_entries
from service.web.pages.shell import render

SCOPE = Scope.READ


def show() -> Response:
    """At /, which is JSON for whoever does not ask for a page: `home` calls it."""
    guard.require(SCOPE)
    services = context.current().services
    found = _recent().of(services, auth.accounts())
    takes_writes, waiting = services.database.breaker.takes_writes, own_entries(services)
    # Its numbers are of one moment; that something waits is said at once.
    promise = found.well.promise
    if promise is not None:
        promise = replace(promise, waiting=max(promise.waiting, found.own))
    return render(
        "pages/now.html",
        place="now",
        now=found.now,
        well=wellness.seen_from(found.well, takes_writes=takes_writes, waiting=waiting),
        in_progress=found.in_progress,
        most_in_progress=store_now.MOST_IN_PROGRESS,
        overdue=found.overdue,
        overdue_is_all=found.overdue_is_all,
        day=found.day,
        promise=promise,
        callbacks=found.callbacks,
        alerts=[(one, alert_rules.of(one.cause)) for one in found.alerts],
        spools=found.spools,
        processes=found.processes,
        rejected=found.rejected,
        causes=causes.BY_OVERDUE_KIND,
    )


def _recent() -> RecentFigures:
    recent = current_app.extensions.setdefault("recent figures", RecentFigures())
    assert isinstance(recent, RecentFigures)
    return recent
