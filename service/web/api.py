"""Internal apps: start, look, stop."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from uuid import UUID

from flask import Blueprint, Response, request, url_for

from service.domain.session import NoticeKind, Session, State
from service.ledger.errors import UnknownSession
from service.store import callbacks, events, sessions
from service.store.callbacks import StoredCallback
from service.store.json import canonical_json
from service.store.sessions import IdempotencyKey
from service.telnyx.form import Form
from service.web import auth, responses
from service.web.context import parts
from service.web.errors import telnyx_problem
from service.web.openapi import Answer, Header, operation
from service.web.problems import Problem, wrong_field
from service.web.requests import CallbackQuery, Nothing, SessionQuery, StartRequest
from service.web.responses import (
    CallbackList,
    CallbackPage,
    CallbackShape,
    SessionPage,
    SessionShape,
    SessionWithTimeline,
)

LARGEST_BODY = 64 * 1024
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def tell_spool(response: Response) -> Response:
    """Whoever reads shall know that callbacks wait which are not yet shown."""
    depth = parts().works.backlog.depth()
    if depth is not None and depth.age is not None:
        response.headers["Ledger-Spool-Age"] = f"{depth.age:.3f}"
    return response


blueprint = Blueprint("api", __name__, url_prefix="/v1")
blueprint.before_request(auth.api_key)
blueprint.after_request(tell_spool)


@blueprint.post("/sessions")
@operation(
    "Start recording a call",
    answers={201: SessionShape, 202: SessionShape},
    problems=(400, 409, 413, 415, 422, 502, 503),
    body=StartRequest,
    headers=(Header("Idempotency-Key", "1 to 255 visible ASCII characters; never expires; yours alone"),),
)
def start(body: StartRequest) -> Answer:
    """201: Telnyx accepted it. 202: it may or may not have started; a callback will tell.

    422, 502 and 503 name the session, which stands in the ledger as refused.
    """
    account_sid = body.account_sid or parts().account_sid
    if account_sid is None:
        errors = [wrong_field("body", "/account_sid", "required: this service has no TELNYX_ACCOUNT_SID")]
        raise Problem(422, "wrong-request", errors=errors)
    started = parts().control.start(body.order(account_sid), _claim(body), auth.asking().name)
    headers = {"Location": url_for("api.show", session_id=started.session.id)}
    if started.is_replay:
        headers["Idempotency-Replayed"] = "true"
    return Answer(_shape(started.session), _status(started.session, headers), headers)


@blueprint.get("/sessions")
@operation("List sessions, newest first", answers={200: SessionPage}, problems=(422, 503), query=SessionQuery)
def index(query: SessionQuery) -> Answer:
    wanted, cursors = query.filter(), parts().cursors
    before = None
    if query.cursor:
        requested_at, session_id = cursors.read(query.cursor, wanted)
        before = datetime.fromisoformat(requested_at), session_id
    with parts().database.read() as db:
        found = sessions.page(db, wanted, before, query.limit + 1)
    page, more = found[: query.limit], found[query.limit :]
    cursor = cursors.after((page[-1].requested_at.isoformat(), page[-1].id), wanted) if more else None
    return Answer(SessionPage(sessions=[_shape(one) for one in page], next_cursor=cursor))


@blueprint.get("/sessions/<uuid:session_id>")
@operation("Show a session and its timeline", answers={200: SessionWithTimeline}, problems=(404, 503))
def show(session_id: UUID) -> Answer:
    with parts().database.read() as db:
        session = sessions.find(db, str(session_id))
        timeline = events.of_session(db, str(session_id))
    if session is None:
        raise UnknownSession
    return Answer(
        SessionWithTimeline(**responses.session(session), timeline=[responses.event(one) for one in timeline])
    )


@blueprint.get("/sessions/<uuid:session_id>/callbacks")
@operation("Show the callbacks of a session", answers={200: CallbackList}, problems=(404, 503))
def show_callbacks(session_id: UUID) -> Answer:
    with parts().database.read() as db:
        session = sessions.find(db, str(session_id))
        kept = callbacks.of_session(db, str(session_id), None, 250)
    if session is None:
        raise UnknownSession
    return Answer(CallbackList(callbacks=[_callback(one) for one in kept]))


@blueprint.get("/callbacks")
@operation(
    "List callbacks, newest first", answers={200: CallbackPage}, problems=(422, 503), query=CallbackQuery
)
def index_callbacks(query: CallbackQuery) -> Answer:
    """With `problem=true` those that something is wrong with, also where they belong to no session."""
    cursors = parts().cursors
    before = cursors.read(query.cursor, query.problem)[0] if query.cursor else None
    with parts().database.read() as db:
        found = callbacks.page(db, query.problem, before, query.limit + 1)
    page, more = found[: query.limit], found[query.limit :]
    cursor = cursors.after((page[-1].callback.delivery.id,), query.problem) if more else None
    return Answer(CallbackPage(callbacks=[_callback(one) for one in page], next_cursor=cursor))


@blueprint.post("/sessions/<uuid:session_id>/stop")
@operation(
    "Stop recording",
    answers={202: SessionShape},
    problems=(400, 404, 409, 413, 415, 422, 502, 503),
    body=Nothing,
    body_is_required=False,
)
def stop(session_id: UUID, body: Nothing) -> Answer:  # noqa: ARG001
    """202: Telnyx took it. The state changes when Telnyx calls back. A 503 may be repeated."""
    return Answer(_shape(parts().control.stop(str(session_id), auth.asking().name)), 202)


def _status(session: Session, headers: dict[str, str]) -> int:
    """What the app is answered, from the row as it stands."""
    error = session.progress.error
    if session.progress.state is State.REFUSED and error is not None:
        problem = telnyx_problem(error, session.id)
        problem.headers |= headers
        raise problem
    return 201 if session.answer and session.answer.kind is NoticeKind.ACCEPTED else 202


def _shape(session: Session) -> SessionShape:
    return SessionShape(**responses.session(session))


def _callback(kept: StoredCallback) -> CallbackShape:
    came = kept.callback.delivery
    return responses.callback(kept, Form.of(came.method, came.query, came.body).texts)


def _claim(body: StartRequest) -> IdempotencyKey:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return IdempotencyKey(auth.asking().id)
    if not IDEMPOTENCY_KEY.fullmatch(key):
        errors = [wrong_field("header", "/Idempotency-Key", "1 to 255 visible ASCII characters")]
        raise Problem(422, "wrong-request", errors=errors)
    # As parsed, without what is unset: a field that a later release adds changes no old request.
    asked = canonical_json(body.model_dump(mode="json", exclude_none=True, exclude_defaults=True))
    return IdempotencyKey(auth.asking().id, key, hashlib.sha256(asked.encode()).digest())
