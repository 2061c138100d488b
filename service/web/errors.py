"""Where HTTP meets exceptions: one table, and the two headers that every answer has."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, g, request
from flask.json import dumps
from werkzeug.exceptions import HTTPException

from service.domain.session import Error, ErrorKind
from service.ledger.errors import (
    CannotStop,
    KeyReused,
    StillStarting,
    StopFailed,
    TelnyxBusy,
    UnknownSession,
)
from service.store.engine import DatabaseUnavailable
from service.web.asgi import COMMON
from service.web.cursor import InvalidCursor
from service.web.problems import Problem, TelnyxError, wrong_field
from service.web.request_id import request_id_of

HTTP_NAMES = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
RETRY_SOON = {"Retry-After": "5"}

log = logging.getLogger(__name__)


def telnyx_problem(error: Error, session_id: str) -> Problem:
    """What an app hears when Telnyx, asked for something, did not do it."""
    told = TelnyxError(status=error.status, code=error.code, detail=error.detail)
    about: dict[str, Any] = {"session_id": session_id, "telnyx": told}
    match error.kind:
        case ErrorKind.CREDENTIALS:
            return Problem(
                502, "telnyx-refused-us", "The operators of this service have to mend this", **about
            )
        case ErrorKind.RATE_LIMITED:
            return Problem(503, "telnyx-rate-limit", headers=dict(RETRY_SOON), **about)
        case ErrorKind.UNREACHABLE:
            return Problem(503, "telnyx-unreachable", headers=dict(RETRY_SOON), **about)
        case ErrorKind.NO_ANSWER:
            return Problem(503, "telnyx-silent", headers=dict(RETRY_SOON), **about)
    return Problem(422, "telnyx-refused", error.detail, **about)


def _still_asking(trouble: StillStarting) -> Problem:
    detail = "The first request with this Idempotency-Key still waits for Telnyx"
    return Problem(409, "still-asking", detail, session_id=trouble.session.id, headers={"Retry-After": "1"})


def _key_reused(trouble: KeyReused) -> Problem:
    detail = "This Idempotency-Key came with another body before"
    errors = [wrong_field("header", "/Idempotency-Key", "a key of its own for every request")]
    return Problem(422, "key-reused", detail, errors=errors, session_id=trouble.session.id)


def _cannot_stop(trouble: CannotStop) -> Problem:
    return Problem(409, "cannot-stop", f"It cannot be stopped: {trouble}", session_id=trouble.session.id)


def _unknown_session(_: UnknownSession) -> Problem:
    return Problem(404, "unknown-session", "No session has this id")


def _busy(_: TelnyxBusy) -> Problem:
    detail = "Too many requests wait for Telnyx; nothing was done, ask again"
    return Problem(503, "too-many-in-flight", detail, headers=dict(RETRY_SOON))


def _database_away(trouble: DatabaseUnavailable) -> Problem:
    log.error("no database: %s", trouble)
    return Problem(503, "database-away", "The database does not answer", headers=dict(RETRY_SOON))


def _strange_cursor(_: InvalidCursor) -> Problem:
    errors = [wrong_field("query", "/cursor", "the next_cursor of a page of this same list")]
    return Problem(422, "wrong-request", errors=errors)


def _http(trouble: HTTPException) -> Problem:
    status = trouble.code or 500
    return Problem(status, HTTP_NAMES.get(status, "http"), trouble.description)


def _surprise(trouble: Exception) -> Problem:
    log.error("unforeseen: request_id=%s", request_id(), exc_info=trouble)
    return Problem(500, "unforeseen", "The log has more, under this request id")


TABLE: list[tuple[type[Exception], Callable[[Any], Problem]]] = [
    (StillStarting, _still_asking),
    (KeyReused, _key_reused),
    (CannotStop, _cannot_stop),
    (StopFailed, lambda trouble: telnyx_problem(trouble.error, trouble.session.id)),
    (UnknownSession, _unknown_session),
    (TelnyxBusy, _busy),
    (DatabaseUnavailable, _database_away),
    (InvalidCursor, _strange_cursor),
    (HTTPException, _http),
    (Problem, lambda trouble: trouble),
    (Exception, _surprise),
]


def install(app: Flask) -> None:
    for kind, told in TABLE:
        app.register_error_handler(kind, _handler(told))
    app.after_request(_finish)


def _handler(told: Callable[[Any], Problem]) -> Callable[[Exception], Response]:
    def handle(trouble: Exception) -> Response:
        problem = told(trouble)
        response = Response(
            dumps(problem.document(request_id())), problem.status, mimetype="application/problem+json"
        )
        response.headers.update(problem.headers)
        if isinstance(trouble, HTTPException):
            response.headers.extend(h for h in trouble.get_headers() if h[0] == "Allow")
        return response

    return handle


def request_id() -> str:
    """Of the request that is served."""
    if "request_id" not in g:
        g.request_id = request_id_of(request.headers.get("X-Request-Id", ""))
    return str(g.request_id)


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = request_id()
    for name, told in COMMON.items():
        response.headers.setdefault(name, told)
    return response
