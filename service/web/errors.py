"""Where HTTP meets exceptions: one table, and the headers that every answer has."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from flask import Flask, Response, g, request
from flask.json import dumps
from werkzeug.exceptions import HTTPException

from service.domain.notice import Error, ErrorKind
from service.ledger.errors import (
    AccountNotAllowed,
    AccountWithoutKey,
    CannotStop,
    GetNotVouched,
    KeyReused,
    StillStarting,
    StopFailed,
    TelnyxBusy,
    UnknownSession,
)
from service.ledger.evidence import ReadingNotWritten
from service.log_lines import fields
from service.store.engine import DatabaseConflict, DatabaseUnavailable
from service.store.events import ACTORS
from service.store.feed import NotInLedger
from service.store.keys import NameReserved, NameTaken, TooManySecrets
from service.web.asgi import COMMON
from service.web.cloud_events import cursor
from service.web.cursor import InvalidCursor
from service.web.problems import KINDS, Kind, Problem, TelnyxError, wrong_field
from service.web.request_id import request_id_of

RETRY_SOON: Final = {"Retry-After": "5"}
LONGEST_RETRY_SECONDS: Final = 3600
EVIDENCE_HINT: Final = "Who reads it is written down first, which failed; ask again, or with fields=false"
ADD_KEY: Final = "Nothing was done; operators can add one to TELNYX_API_KEY and TELNYX_PUBLIC_KEY"
TELNYX_PROBLEMS: Final = {
    ErrorKind.REJECTED: "telnyx-refused",
    ErrorKind.CREDENTIALS: "telnyx-credentials",
    ErrorKind.RATE_LIMITED: "telnyx-rate-limit",
    ErrorKind.UNREACHABLE: "telnyx-unreachable",
    ErrorKind.NO_ANSWER: "telnyx-no-answer",
}

log = logging.getLogger(__name__)


def telnyx_problem(error: Error, session_id: str, retry_after: timedelta | None) -> Problem:
    """What an app is told when Telnyx did not do what it was asked for.

    `retry_after` is how long Telnyx wants us to wait.
    """
    name = TELNYX_PROBLEMS[error.kind]
    detail = error.detail
    if error.kind is ErrorKind.CREDENTIALS:
        detail = "The operators of this service have to set another TELNYX_API_KEY"
    return Problem(
        name,
        detail,
        session_id=session_id,
        telnyx=TelnyxError(status=error.status, code=error.code, detail=error.detail),
        headers=_retry_after(retry_after) if KINDS[name].status == 503 else {},
    )


def _retry_after(wait: timedelta | None) -> dict[str, str]:
    """In whole seconds, rounded up."""
    if wait is None:
        return RETRY_SOON
    seconds = math.ceil(wait.total_seconds())
    return {"Retry-After": str(max(1, min(seconds, LONGEST_RETRY_SECONDS)))}


def _still_starting(error: StillStarting) -> Problem:
    detail = "The first request with this Idempotency-Key still waits for Telnyx"
    return Problem("still-starting", detail, session_id=error.session.id, headers={"Retry-After": "1"})


def _key_reused(error: KeyReused) -> Problem:
    detail = "This Idempotency-Key came with another body before"
    errors = [wrong_field("header", "/Idempotency-Key", "a key of its own for every request")]
    session_id = error.session.id if error.session else None
    return Problem("key-reused", detail, errors=errors, session_id=session_id)


def _name_reserved(_: NameReserved) -> Problem:
    errors = [wrong_field("body", "/name", f"another name than {', '.join(sorted(ACTORS))}")]
    return Problem("invalid-request", errors=errors)


def _reading_not_written(error: ReadingNotWritten) -> Problem:
    log.error("evidence not shown, answered 503", extra=fields(request_id=request_id(), error=error))
    return Problem("evidence-not-recorded", EVIDENCE_HINT, headers=RETRY_SOON)


def _too_many_secrets(_: TooManySecrets) -> Problem:
    return Problem("too-many-secrets", "Revoke one of them, then ask again")


def _cannot_stop(error: CannotStop) -> Problem:
    session = error.session
    name = "session-over" if session.progress.state.is_over else "session-without-sid"
    if session.merged_into:
        name = "session-merged"
    return Problem(name, f"It cannot be stopped: {error}", session_id=session.id)


def _database_unavailable(error: DatabaseUnavailable) -> Problem:
    log.error("database unavailable, answered 503", extra=fields(request_id=request_id(), error=error))
    return Problem("database-unavailable", "Nothing was done; ask again", headers=RETRY_SOON)


def _database_busy(error: DatabaseConflict) -> Problem:
    log.warning("database conflict, answered 503", extra=fields(request_id=request_id(), error=error))
    return Problem("database-busy", "Nothing was done; ask again", headers={"Retry-After": "1"})


def _invalid_cursor(_: InvalidCursor) -> Problem:
    errors = [wrong_field("query", "/cursor", "the next_cursor of a page of this same list")]
    return Problem("invalid-request", errors=errors)


def _get_not_vouched(_: GetNotVouched) -> Problem:
    detail = "POST: the public key of this account vouches for no GET, whose fields are not signed"
    return Problem("invalid-request", errors=[wrong_field("body", "/status_callback_method", detail)])


def _not_in_ledger(error: NotInLedger) -> Problem:
    detail = (
        f"The ledger ends at {cursor(error.last)} now, and has no event of this cursor. "
        "Go on after start, after a time before the restore, or there; events may come again"
    )
    return Problem("ledger-restored", detail)


def _http(error: HTTPException) -> Problem:
    names = {404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "not-json"}
    status = error.code or 500
    if status in names:
        return Problem(names[status], error.description)
    return Problem("http", error.description, kind=Kind(status, HTTPStatus(status).phrase))


def _unforeseen(error: Exception) -> Problem:
    log.error("internal error, answered 500", exc_info=error, extra=fields(request_id=request_id()))
    return Problem("internal-error", "The log has more, under this request id")


# Flask takes the entry of the nearest class. What else a database raises, the record that it refuses
# included, comes of no input that passes `requests`, so it is a fault of ours.
TABLE: Final[list[tuple[type[Exception], Callable[[Any], Problem]]]] = [
    (StillStarting, _still_starting),
    (KeyReused, _key_reused),
    (CannotStop, _cannot_stop),
    (StopFailed, lambda error: telnyx_problem(error.error, error.session.id, error.error.retry_after)),
    (UnknownSession, lambda _: Problem("unknown-session", "No session has this id")),
    (AccountNotAllowed, lambda _: Problem("account-not-allowed", "Give an account_sid that it is for")),
    (AccountWithoutKey, lambda _: Problem("account-without-key", ADD_KEY)),
    (GetNotVouched, _get_not_vouched),
    (NameTaken, lambda _: Problem("key-name-taken", "A key, perhaps a revoked one, has this name for ever")),
    (NameReserved, _name_reserved),
    (TooManySecrets, _too_many_secrets),
    (ReadingNotWritten, _reading_not_written),
    (TelnyxBusy, lambda _: Problem("too-many-in-flight", "Nothing was done; ask again", headers=RETRY_SOON)),
    (DatabaseUnavailable, _database_unavailable),
    (DatabaseConflict, _database_busy),
    (InvalidCursor, _invalid_cursor),
    (NotInLedger, _not_in_ledger),
    (HTTPException, _http),
    (Problem, lambda problem: problem),
    (Exception, _unforeseen),
]


def install(app: Flask) -> None:
    for kind, problem_of in TABLE:
        app.register_error_handler(kind, _handler(problem_of))
    app.after_request(_finish)


def problem_for(error: Exception) -> Problem:
    """What the table says of it."""
    of = dict(TABLE)
    return next(of[kind] for kind in type(error).__mro__ if kind in of)(error)


def _handler(problem_of: Callable[[Any], Problem]) -> Callable[[Exception], Response]:
    def handle(error: Exception) -> Response:
        problem = problem_of(error)
        document = dumps(problem.document(request_id()))
        response = Response(document, problem.status, mimetype="application/problem+json")
        response.headers.update(problem.headers)
        if isinstance(error, HTTPException):
            response.headers.extend(header for header in error.get_headers() if header[0] == "Allow")
        return response

    return handle


def request_id() -> str:
    """Of the request that is served."""
    if "request_id" not in g:
        g.request_id = request_id_of(request.headers.get("X-Request-Id", ""))
    return str(g.request_id)


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = request_id()
    for name, value in COMMON.items():
        response.headers.setdefault(name, value)
    return response
