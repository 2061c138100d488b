"""Whether the process answers, and whether it can keep callbacks."""

from __future__ import annotations

from flask import Blueprint

from service.web import auth, context
from service.web.operation import Answer, operation
from service.web.responses import (
    Alive,
    DatabaseHealth,
    NumberingHealth,
    Ready,
    SpoolHealth,
    SpoolState,
)
from service.wiring import Services

# The event loop answers GET and HEAD (service.app). What is here says so in the documents, and gives other
# methods their 405.
blueprint = Blueprint("health", __name__)
blueprint.before_request(auth.anyone)


@blueprint.get("/healthz")
@operation("getHealth", "The process answers", answers={200: Alive}, query=None)
def healthz() -> Answer:
    return Answer(Alive(status="ok"))


@blueprint.get("/readyz")
@operation("getReadiness", "Callbacks can be kept", answers={200: Ready, 503: Ready}, query=None)
def readyz() -> Answer:
    """At once, from what is known: neither the database nor the disk is asked."""
    ready = readiness(context.current().services)
    return Answer(ready, 200 if ready.ready else 503)


def readiness(services: Services) -> Ready:
    """From memory, so that the event loop can answer with it however busy the threads are."""
    breaker, spool = services.database.breaker, _spool(services)
    database = DatabaseHealth(
        answers=breaker.answers,
        takes_writes=breaker.takes_writes,
        unavailable_since=breaker.unavailable_since,
    )
    is_ready = database.takes_writes or spool.state is SpoolState.ON
    return Ready(
        ready=is_ready,
        database=database,
        spool=spool,
        numbering=_numbering(services),
        rejected=services.rejected.stored,
    )


def _spool(services: Services) -> SpoolHealth:
    depth = services.backlog.depth()
    if depth is None:
        return SpoolHealth(state=SpoolState.OFF)
    return SpoolHealth(
        state=SpoolState.ON if depth.is_usable else SpoolState.UNUSABLE,
        entries=depth.entries,
        oldest_seconds=depth.age,
        dead_letters=depth.dead_letters,
    )


def _numbering(services: Services) -> NumberingHealth:
    lag = services.numbering.lag()
    if lag is None:
        return NumberingHealth(unnumbered=None, lag_seconds=None)
    return NumberingHealth(unnumbered=lag.unnumbered, lag_seconds=lag.seconds)
