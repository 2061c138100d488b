"""Whether the process answers, and whether it can keep callbacks."""

from __future__ import annotations

from flask import Blueprint

from service.store import schema
from service.store.engine import DatabaseAway
from service.store.schema import Age
from service.web import auth
from service.web.operation import Answer, operation
from service.web.parts import parts
from service.web.shapes import Alive, DatabaseHealth, Ready

blueprint = Blueprint("health", __name__)
blueprint.before_request(auth.anyone)


@blueprint.get("/healthz")
@operation("The process answers", answers={200: Alive})
def healthz() -> Answer:
    return Answer(Alive(status="ok"))


@blueprint.get("/readyz")
@operation("Callbacks can be kept", answers={200: Ready, 503: Ready})
def readyz() -> Answer:
    database = _database()
    is_ready = database.reachable and database.schema_age in {Age.CURRENT, Age.NEWER}
    return Answer(Ready(ready=is_ready, database=database), 200 if is_ready else 503)


def _database() -> DatabaseHealth:
    try:
        with parts().database.read() as db:
            return DatabaseHealth(reachable=True, schema_age=schema.age(db))
    except DatabaseAway:
        return DatabaseHealth(reachable=False)
