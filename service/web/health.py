"""Whether the process answers, and whether it can keep callbacks."""

from __future__ import annotations

from flask import Blueprint

from service.store import rejected, schema
from service.store.engine import DatabaseError
from service.store.schema import Age
from service.web import auth
from service.web.context import parts
from service.web.openapi import Answer, operation
from service.web.responses import Alive, DatabaseHealth, Ready, SpoolHealth, SpoolState

blueprint = Blueprint("health", __name__)
blueprint.before_request(auth.anyone)


@blueprint.get("/healthz")
@operation("The process answers", answers={200: Alive})
def healthz() -> Answer:
    return Answer(Alive(status="ok"))


@blueprint.get("/readyz")
@operation("Callbacks can be kept", answers={200: Ready, 503: Ready})
def readyz() -> Answer:
    database, refused = _database()
    spool = _spool()
    has_database = database.reachable and database.schema_age in {Age.CURRENT, Age.NEWER}
    is_ready = has_database or spool.state is SpoolState.ON
    shown = Ready(ready=is_ready, database=database, spool=spool, refused=refused)
    return Answer(shown, 200 if is_ready else 503)


def _database() -> tuple[DatabaseHealth, int | None]:
    try:
        with parts().database.read() as db:
            age = schema.age(db)
            refused = rejected.count(db) if age in {Age.CURRENT, Age.NEWER} else None
            return DatabaseHealth(reachable=True, schema_age=age), refused
    except DatabaseError:
        return DatabaseHealth(reachable=False), None


def _spool() -> SpoolHealth:
    depth = parts().works.backlog.depth()
    if depth is None:
        return SpoolHealth(state=SpoolState.OFF)
    return SpoolHealth(
        state=SpoolState.ON if depth.is_usable else SpoolState.BROKEN,
        entries=depth.entries,
        oldest_seconds=depth.age,
        dead_letters=depth.dead_letters,
    )
