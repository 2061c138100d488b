"""Logging in, by an API key or by a link that does it once, and out."""

from __future__ import annotations

import logging
import math
import secrets
from pathlib import Path
from typing import Final

from flask import Blueprint, Response, current_app, request, send_from_directory
from werkzeug.wrappers import Response as AnyResponse

from service.log_lines import fields
from service.store import keys, log_ins
from service.web import auth, context
from service.web.pages import guard
from service.web.pages.shell import go, render, show_problem
from service.web.pages.throttle import Throttle
from service.web.problems import Kind, Problem

UNKNOWN_KEY: Final = "This key is not known, or not in force any longer."
LONGEST_PATH: Final = 2000

log = logging.getLogger(__name__)

blueprint = Blueprint("log_in", __name__, template_folder="templates")
blueprint.before_request(auth.anyone)
blueprint.register_error_handler(Exception, show_problem)


@blueprint.get("/log-in")
def form() -> AnyResponse:
    return _with_form_cookie("pages/log_in.html", next=_next(request.args.get("next", "")))


@blueprint.post("/log-in")
def log_in() -> AnyResponse:
    guard.check_form(guard.cookie(guard.FORM))
    services = context.current().services
    now, wanted = services.clock(), _next(request.form.get("next", ""))
    with services.database.read() as db:
        found = keys.recognise(db, request.form.get("key", "").strip(), now)
    if found is None:
        _count_failure()
        return _with_form_cookie("pages/log_in.html", 403, next=wanted, error=UNKNOWN_KEY)
    with services.database.begin() as db:
        text = log_ins.begin(db, found.id, found.secret_id, guard.cookie(), now)
    services.last_used.use(found.secret_id, now)
    log.info("logged in by key", extra=fields(key=found.name, address=_address()))
    return _welcome(text, wanted)


@blueprint.get("/log-in/<text>")
def link(text: str) -> AnyResponse:
    """A button: who previews the link uses it up no more than who only looks at it."""
    services = context.current().services
    with services.database.read() as db:
        name = log_ins.link_names(db, text, services.clock())
    if name is None:  # not counted as a failure: any site can make a browser ask
        _slow_down()
        return render("pages/link.html", 410, name=None, key=None)
    return _with_form_cookie("pages/link.html", name=name)


@blueprint.post("/log-in/<text>")
def use_link(text: str) -> AnyResponse:
    guard.check_form(guard.cookie(guard.FORM))
    services = context.current().services
    now = services.clock()
    with services.database.begin() as db:
        key_id = log_ins.use_link(db, text, now)
        begun = log_ins.begin(db, key_id, None, guard.cookie(), now) if key_id else ""
    if not key_id:
        _count_failure()
        return render("pages/link.html", 410, name=None, key=None)
    log.info("logged in by link", extra=fields(api_key_id=key_id, address=_address()))
    return _welcome(begun, "/")


@blueprint.post("/log-out")
def log_out() -> AnyResponse:
    text = guard.cookie()
    guard.check_form(text)
    with context.current().services.database.begin() as db:
        log_ins.end(db, text)
    response = go("/log-in")
    guard.remove_cookie(response)
    return response


@blueprint.get("/assets/<name>")
def asset(name: str) -> Response:
    """Style and script of the pages."""
    response = send_from_directory(Path(__file__).parent / "static", name)
    response.headers["Cache-Control"] = "no-cache"  # but asked for with its ETag
    return response


def _welcome(text: str, path: str) -> AnyResponse:
    response = go(path)
    guard.set_cookie(response, text)
    guard.remove_cookie(response, guard.FORM)
    return response


def _with_form_cookie(template: str, status: int = 200, **values: object) -> Response:
    """The form's token is of a cookie that the browser gets with it."""
    secret = guard.cookie(guard.FORM) or secrets.token_urlsafe(32)
    response = render(template, status, key=None, token=guard.token_of(secret), **values)
    guard.set_cookie(response, secret, guard.FORM)
    return response


def _count_failure() -> None:
    """Raises Problem where there were too many; who has a key, or a link, is never refused for others'."""
    _slow_down()
    _throttle().failed(_address())


def _slow_down() -> None:
    seconds = math.ceil(_throttle().wait_seconds(_address()))
    if seconds:
        kind = Kind(429, "Too many tries")
        headers = {"Retry-After": str(seconds)}
        raise Problem("too-many-log-ins", f"Try again in {seconds} s.", kind=kind, headers=headers)


def _address() -> str:
    return request.remote_addr or "-"


def _throttle() -> Throttle:
    throttle = current_app.extensions.setdefault("log-in throttle", Throttle())
    assert isinstance(throttle, Throttle)
    return throttle


def _next(path: str) -> str:
    """Where to after it: a page of ours, whatever a link says."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\", "/log-")) and path.isprintable()
    return path if is_ours and len(path) <= LONGEST_PATH else "/"
