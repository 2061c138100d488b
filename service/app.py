"""Builds the parts once, and opens the doors."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from flask import Flask

from service import config
from service.config import Settings, SignaturePolicy, SpoolUse
from service.control import Control
from service.intake import Intake
from service.spool import Spool, SpoolUnusable
from service.store.engine import Database
from service.telnyx.address import Addresses
from service.telnyx.callback import Reader
from service.telnyx.client import Client
from service.watch import Watch
from service.web import api, errors, health, reference
from service.web.callbacks import CallbackShell
from service.web.cursor import Cursors
from service.web.door import Door
from service.web.parts import Parts

GIVE_UP = 4  # gunicorn's code for an app that will not load the next time either
SPARE_CONNECTIONS = 2  # for the watch, so that it never waits for a request

log = logging.getLogger(__name__)


def web() -> Flask:
    """What gunicorn serves, in each process after the fork."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = config.load()
    parts = build(settings)
    try:
        parts.intake.start()
    except SpoolUnusable as trouble:
        log.critical("the spool cannot be used: %s", trouble)
        raise SystemExit(GIVE_UP) from trouble
    parts.watch.start()
    return create(parts)


def stop(app: Flask) -> None:
    """When its process ends: what the spool holds is left for others at once."""
    parts = Parts.of(app)
    parts.watch.stop()
    parts.intake.stop()
    parts.database.close()


def build(settings: Settings) -> Parts:
    database = Database(settings.DATABASE_URL.get_secret_value(), settings.THREADS + SPARE_CONNECTIONS)
    secrets = [key.get_secret_value() for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    addresses = Addresses(settings.PUBLIC_URL, secrets)
    api_key = settings.TELNYX_API_KEY.get_secret_value()
    spool = None
    if settings.SPOOL_DIR is not None and settings.SPOOL is SpoolUse.ON:
        spool = Spool(settings.SPOOL_DIR, settings.SPOOL_LIMIT_MB * 1024 * 1024)
    control = Control(
        database=database,
        telnyx=Client(settings.TELNYX_BASE_URL, api_key, settings.TELNYX_TIMEOUT_SECONDS, _now),
        addresses=addresses,
        clock=_now,
        start_deadline=timedelta(seconds=settings.START_DEADLINE_SECONDS),
        in_flight=max(1, settings.THREADS // 4),
        spool=spool,
    )
    intake = Intake(control, spool)
    must_be_signed = settings.CALLBACK_SIGNATURE is SignaturePolicy.REQUIRED
    reader = Reader(settings.TELNYX_PUBLIC_KEY, addresses, must_be_signed=must_be_signed)
    return Parts(
        database=database,
        control=control,
        intake=intake,
        door=Door(reader, intake, control, _now),
        cursors=Cursors(secrets),
        watch=Watch(control, timedelta(seconds=settings.WATCH_SECONDS)),
        clock=_now,
        account_sid=settings.TELNYX_ACCOUNT_SID,
    )


def create(parts: Parts) -> Flask:
    app = Flask("service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = api.LARGEST_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False  # which would redirect, and Telnyx follows no redirect for sure
    parts.attach(app)
    errors.install(app)
    for room in (api, health, reference):
        app.register_blueprint(room.blueprint)
    app.wsgi_app = CallbackShell(parts.door, app.wsgi_app)  # type: ignore[method-assign]
    return app


def _now() -> datetime:
    return datetime.now(UTC)
