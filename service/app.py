"""Builds the parts once, and opens the doors."""

from __future__ import annotations

import logging

from flask import Flask

from service import config, wiring
from service.config import Settings
from service.spool import SpoolUnusable
from service.web import api, docs, errors, health
from service.web.callbacks import CallbackShell
from service.web.context import Context
from service.web.cursor import Cursors
from service.web.door import Door

GIVE_UP = 4  # gunicorn's code for an app that will not load the next time either

log = logging.getLogger(__name__)


def web() -> Flask:
    """What gunicorn serves, in each process after the fork."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    parts = build(config.load())
    try:
        parts.works.start()
    except SpoolUnusable as trouble:
        log.critical("the spool cannot be used: %s", trouble)
        raise SystemExit(GIVE_UP) from trouble
    return create(parts)


def stop(app: Flask) -> None:
    """When its process ends."""
    Context.of(app).works.stop()


def build(settings: Settings) -> Context:
    works = wiring.wire(settings)
    door = Door(works.reader, works.intake, works.database, works.clock)
    return Context(works, door, Cursors(settings.secrets), settings.TELNYX_ACCOUNT_SID)


def create(parts: Context) -> Flask:
    app = Flask("service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = api.LARGEST_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False  # it would redirect
    parts.attach(app)
    errors.install(app)
    for room in (api, health, docs):
        app.register_blueprint(room.blueprint)
    app.wsgi_app = CallbackShell(parts.door, app.wsgi_app)  # type: ignore[method-assign]
    return app
