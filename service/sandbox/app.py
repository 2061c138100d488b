"""The sandbox as a Flask application: reads every request, and answers errors in Telnyx's shape."""

import hmac
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from flask import Flask, Response, abort, current_app, g, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from .api import api
from .control import control
from .fields import NotJson, read_fields
from .refusal import NOT_FOUND, Refusal
from .sessions import now
from .state import NoStatusCallback, State, UnknownSession
from .traffic import Request
from .validation import Invalid

LARGEST_BODY_BYTES = 1024 * 1024
STATUSES = {NotJson: 400, UnknownSession: 404, NoStatusCallback: 409, Invalid: 422}


class Segment(BaseConverter):
    """One part of a path, decoded only after the path was split."""

    def to_python(self, value: str) -> str:
        return unquote(value)


class Json(DefaultJSONProvider):
    sort_keys = False

    @staticmethod
    def default(value: Any) -> Any:
        """Times in ISO 8601, bytes as text."""
        if isinstance(value, datetime):
            return value.isoformat(timespec="microseconds")
        return value.decode(errors="backslashreplace") if isinstance(value, bytes) else asdict(value)


def create_app(state: State, api_key_of: Callable[[str | None], str]) -> Flask:
    """`api_key_of` leads from the account in a path, None where there is none, to its key."""
    app = Flask(__name__, static_folder=None)
    app.json = Json(app)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY_BYTES
    app.config["PROPAGATE_EXCEPTIONS"] = True  # a ConnectionError ends the connection without an answer
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.converters["segment"] = Segment
    app.url_map.strict_slashes = app.url_map.merge_slashes = False

    @app.before_request
    def receive() -> None:
        g.state = state
        g.request = _read_request()
        if request.path.startswith("/v2/"):
            state.note(g.request)
            api_key = api_key_of((request.view_args or {}).get("account_sid"))
            given = g.request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {api_key}".encode()):
                raise Refusal(401, "The API key is missing, or it is not the sandbox's.")

    app.register_blueprint(api)
    app.register_blueprint(control)
    app.register_error_handler(Refusal, Refusal.response)
    app.register_error_handler(HTTPException, _answer_http_error)
    for kind in STATUSES:
        app.register_error_handler(kind, _answer_error)
    return app


def _read_request() -> Request:
    length = request.headers.get("Content-Length", "0")
    if request.headers.get("Transfer-Encoding"):
        abort(411, "the sandbox needs a Content-Length")
    if not (length.isascii() and length.isdigit()):
        abort(400, f"Content-Length is no number: {length!r}")
    body = request.get_data()
    fields: dict[str, str] = {}
    with suppress(NotJson):  # nonsense is noted too, and refused afterwards
        fields = read_fields(body)
    headers = {name.lower(): value for name, value in request.headers.items()}
    query = request.query_string.decode("latin-1")
    return Request(now(), request.method, request.path, query, headers, body, fields)


def _answer_error(error: Exception) -> Response:
    return Refusal(STATUSES[type(error)], str(error), field=getattr(error, "member", None)).response()


def _answer_http_error(error: HTTPException) -> Response:
    if error.code not in (404, 405):
        return Refusal(error.code or 500, error.description or error.name).response()
    if not request.path.startswith("/sandbox"):
        return Refusal(404, NOT_FOUND).response()
    rules = [rule for rule in current_app.url_map.iter_rules() if rule.endpoint.startswith("control.")]
    known = ", ".join(f"{min(rule.methods or {''})} {rule.rule}" for rule in rules).replace("segment:", "")
    return Refusal(404, f"{request.method} {request.path}: no such endpoint; there are {known}").response()
