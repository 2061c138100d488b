"""What gunicorn serves: the callback endpoint on the event loop, Flask beside it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Final

from flask import Flask

from service import config, logs, wiring
from service.canary.mark import CanaryKeys, is_canary
from service.config import Settings, WrongConfiguration
from service.ledger.canary import try_durability
from service.log_lines import fields
from service.spool import SpoolUnusable
from service.store import schema
from service.store.engine import DatabaseUnusable
from service.telnyx.callback_url import is_callback
from service.web import (
    access_log,
    alerts,
    callback_lists,
    docs,
    errors,
    explanations,
    feed,
    health,
    home,
    keys,
    metrics,
    reports,
    sessions,
    waiting,
)
from service.web.access_log import AccessLog
from service.web.asgi import App, Receive, Scope, Send, answer_json, answer_problem
from service.web.callbacks import CallbackEndpoint
from service.web.canary import CanaryEndpoint
from service.web.cloud_events import Rendered
from service.web.context import Context
from service.web.cursor import Cursors
from service.web.flask_bridge import FlaskBridge
from service.web.pages import (  # (some are named nowhere: they add pages)
    log_in,
    manual,
    one_session,  # noqa: F401
    session_list,  # noqa: F401
    shell,
    stop_session,  # noqa: F401
    text,  # noqa: F401
)
from service.web.problems import Problem
from service.web.server import IS_INSIDE
from service.web.thread_pool import Pool
from service.web.traffic import Traffic
from service.web.waiting_readers import WaitingReaders
from service.workers import garbage

# A thread that computes lets the event loop in so often; Python's own 5 ms add up, for a callback waits
# for its turn several times.
SWITCH_SECONDS: Final = 0.001
STOP_SECONDS: Final = 7.0  # the limits of its parts are 6.75 s together
REJECTED_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 1.0
REASONS: Final = {
    DatabaseUnusable: "the database cannot be used",
    SpoolUnusable: "the spool cannot be used",
    WrongConfiguration: "the configuration is wrong",
}

log = logging.getLogger(__name__)


def web() -> Web:
    """In each process after the fork. Nothing begins before the event loop is there."""
    settings = config.load()
    logs.install(settings.LOG_FORMAT)
    return Web(settings)


def build(settings: Settings) -> Context:
    services = wiring.wire(settings)
    inside = settings.INTERNAL_BIND
    return Context(
        services=services,
        cursors=Cursors(settings.secrets),
        canary_keys=CanaryKeys(settings.secrets),
        account_sid=settings.TELNYX_ACCOUNT_SID,
        rendered=Rendered(settings.PUBLIC_URL),
        url=(settings.INTERNAL_URL or inside.url) if inside else settings.PUBLIC_URL,
        link_base=settings.INTERNAL_URL or "",
        has_inside=inside is not None,
        metrics_token=token.get_secret_value() if (token := settings.METRICS_TOKEN) else None,
    )


def create(context: Context) -> Flask:
    """The API and its documents."""
    app = Flask("service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = sessions.LARGEST_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False  # it would redirect
    context.attach(app)
    errors.install(app)
    waiting.install(app)
    access_log.install(app)
    of_api = (sessions, explanations, callback_lists, feed, alerts, reports, keys, health, metrics, docs)
    for room in (*of_api, home, log_in, manual, shell):
        app.register_blueprint(room.blueprint)
    return app


class Web:
    """ASGI. What serves is made in lifespan, and ended there."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._serve: App | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            assert self._serve is not None
            await self._serve(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        traffic = scope["state"]["traffic"] = Traffic()
        try:
            context = build(self._settings)
            await asyncio.to_thread(schema.check, context.services.database)
            context.services.start(asyncio.get_running_loop())
        except (SpoolUnusable, WrongConfiguration, DatabaseUnusable) as error:
            log.critical("cannot start: %s: %s", REASONS[type(error)], error)
            await send({"type": "lifespan.startup.failed"})
            return
        serving = Serving(context, self._settings.THREADS, traffic)
        self._serve = serving if access_log.log.disabled else AccessLog(serving)
        sys.setswitchinterval(SWITCH_SECONDS)
        garbage.leave_out_all_so_far()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await serving.end()
        traffic.tell()
        await send({"type": "lifespan.shutdown.complete"})


def is_served(scope: Scope) -> bool:
    """By the listener that the connection came in by: outside are callbacks and canaries, inside is all else.

    Who listens is known of the socket; what the request says of hosts does not count.
    """
    path = scope["path"]
    if scope["state"].get(IS_INSIDE, False):
        return not (is_callback(path) or is_canary(path))
    return _reads(scope, "/healthz") or is_callback(path) or is_canary(path)


def _reads(scope: Scope, path: str) -> bool:
    return scope["path"] == path and scope["method"] in {"GET", "HEAD"}


class Serving:
    """Made on the event loop that serves."""

    def __init__(self, context: Context, threads: int, traffic: Traffic) -> None:
        services = context.services
        self._services = services
        self._has_inside = context.has_inside
        self._traffic = traffic
        self._callbacks = CallbackEndpoint(
            services.reader.read,
            services.intake,
            services.rejected,
            services.clock,
            traffic.count,
            services.missed.count,
            services.answered.count,
        )
        self._canaries = CanaryEndpoint(
            context.canary_keys,
            lambda: try_durability(services.database, services.backlog),
            services.clock,
            self._callbacks.rejections,
        )
        traffic.when_ending(self._canaries.end)
        readers = WaitingReaders(traffic.most_waiting, context.recent_keys.changed)
        services.tail.readers = readers
        services.gauges.waiting_readers = lambda: readers.count
        traffic.when_ending(readers.end)
        self._flask = FlaskBridge(
            create(context).wsgi_app,
            threads,
            lambda: services.intake.is_waited_for,
            lambda: services.intake.are_many_waiting,
            readers,
        )
        traffic.when_ending(self._flask.exports.end)
        self._ending = Pool("end", 3, 0)  # a thread for each step

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if self._has_inside and not is_served(scope):
            await answer_problem(scope, send, Problem("not-found"))
        elif is_callback(path):
            await self._callbacks(scope, receive, send)
        elif is_canary(path):
            await self._canaries(scope, receive, send)
        elif _reads(scope, "/healthz"):
            await answer_json(scope, send, 200, {"status": "ok"})  # however busy the threads are
        elif path == "/readyz" and self._traffic.is_ending:
            await answer_problem(scope, send, Problem("ending"))
        elif _reads(scope, "/readyz"):
            ready = health.readiness(self._services)
            await answer_json(scope, send, 200 if ready.ready else 503, ready.model_dump(mode="json"))
        elif scope["state"].get("refused") == 413:
            await answer_problem(scope, send, Problem("too-large"))
        elif scope["state"].get("refused"):
            await answer_problem(scope, send, Problem("busy", headers={"Retry-After": "1"}))
        else:
            await self._flask(scope, receive, send)

    async def end(self) -> None:
        """After the last answer, what matters most first.

        What hangs is left behind: its thread keeps neither the next step nor the process.
        """
        services = self._services
        await self._step("services", STOP_SECONDS, services.stop)
        await self._step("rejected callbacks", REJECTED_SECONDS, services.rejected.flush, REJECTED_SECONDS)
        await self._step("database", CLOSE_SECONDS, services.database.close)

    async def _step(self, name: str, seconds: float, do: Callable[..., None], *arguments: object) -> None:
        try:
            await asyncio.wait_for(self._ending.submit(do, *arguments), seconds)
        except TimeoutError:
            log.error("shutdown step timed out, continuing", extra=fields(step=name))
        except Exception as error:
            log.error("shutdown step failed, continuing", exc_info=error, extra=fields(step=name))
