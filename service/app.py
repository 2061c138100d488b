"""Builds the parts once, and opens the doors."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from flask import Flask

from service import config
from service.config import Settings, SignaturePolicy
from service.control import Control
from service.store.engine import Database
from service.telnyx.address import Addresses
from service.telnyx.callback import Reader
from service.telnyx.client import Client
from service.watch import Watch
from service.web import api, callbacks, errors, health, reference
from service.web.cursor import Cursors
from service.web.door import Door
from service.web.parts import Parts

SPARE_CONNECTIONS = 2  # for the watch, so that it never waits for a request


def web() -> Flask:
    """What gunicorn serves, in each process after the fork."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = config.load()
    parts = build(settings)
    parts.watch.start()
    return create(parts)


def build(settings: Settings) -> Parts:
    database = Database(settings.DATABASE_URL.get_secret_value(), settings.THREADS + SPARE_CONNECTIONS)
    secrets = [key.get_secret_value() for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    addresses = Addresses(settings.PUBLIC_URL, secrets)
    api_key = settings.TELNYX_API_KEY.get_secret_value()
    control = Control(
        database=database,
        telnyx=Client(settings.TELNYX_BASE_URL, api_key, settings.TELNYX_TIMEOUT_SECONDS, _now),
        addresses=addresses,
        clock=_now,
        start_deadline=timedelta(seconds=settings.START_DEADLINE_SECONDS),
        in_flight=max(1, settings.THREADS // 4),
    )
    must_be_signed = settings.CALLBACK_SIGNATURE is SignaturePolicy.REQUIRED
    reader = Reader(settings.TELNYX_PUBLIC_KEY, addresses, must_be_signed=must_be_signed)
    return Parts(
        database=database,
        control=control,
        door=Door(reader, control),
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
    parts.attach(app.extensions)
    errors.install(app)
    for room in (api, callbacks, health, reference):
        app.register_blueprint(room.blueprint)
    return app


def _now() -> datetime:
    return datetime.now(UTC)
