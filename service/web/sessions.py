"""Sessions, for internal apps: start, look, stop."""

from __future__ import annotations

import hashlib
import re
from typing import Final
from uuid import UUID

from flask import Blueprint, request

from service.domain.access import Scope
from service.domain.notice import NoticeKind
from service.domain.state import State
from service.ledger.sessions import Started
from service.store import events, feed, session_lists, sessions
from service.store.json import canonical_json
from service.store.sessions import IdempotencyKey
from service.web import auth, context, responses, session_then, waiting
from service.web.cursor import ListPages
from service.web.errors import telnyx_problem
from service.web.operation import Answer, operation
from service.web.problems import Problem, wrong_field
from service.web.requests import (
    Empty,
    SessionQuery,
    StartRequest,
)
from service.web.responses import (
    SessionPage,
    SessionResponse,
    SessionWithTimeline,
    TimelinePage,
)
from service.web.session_then import SessionThenQuery, TimelineThenQuery

LARGEST_BODY: Final = 64 * 1024
LONGEST_TIMELINE: Final = 100  # embedded in a session; all of it has pages of its own
IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
IDEMPOTENCY_KEY_HEADER: Final = {
    "description": "1 to 255 visible ASCII characters; never expires; yours alone",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
TELNYX_FAILED: Final = ("telnyx-refused", "telnyx-credentials", "telnyx-rate-limit", "telnyx-unreachable")

blueprint = Blueprint("sessions", __name__, url_prefix="/v1/sessions")
blueprint.before_request(auth.api_key)
blueprint.after_request(context.add_spool_age)


@blueprint.post("")
@operation(
    "startSession",
    "Start recording a call",
    answers={201: SessionResponse, 202: SessionResponse},
    problems=(
        *("still-starting", "key-reused", "account-not-allowed", "account-without-key"),
        *(*TELNYX_FAILED, "too-many-in-flight"),
    ),
    body=StartRequest,
    headers={"Idempotency-Key": IDEMPOTENCY_KEY_HEADER},
    answer_headers=("Location", "Idempotency-Replayed"),
    scope=Scope.START,
)
def start(body: StartRequest) -> Answer:
    """201: Telnyx accepted it. 202: it may or may not have started; a callback will tell.

    422, 502 and 503 name the session, which stands in the ledger as refused.
    """
    account_sid = body.account_sid or context.current().account_sid
    if account_sid is None:
        errors = [wrong_field("body", "/account_sid", "required: this service has no TELNYX_ACCOUNT_SID")]
        raise Problem("invalid-request", errors=errors)
    key = _idempotency_key(body)
    started = context.current().sessions.start(body.order(account_sid), key, auth.key())
    headers = {"Location": context.link("sessions.show", session_id=started.session.id)}
    if started.is_replay:
        headers["Idempotency-Replayed"] = "true"
    return Answer(responses.session(started.session), _status(started, headers), headers)


@blueprint.get("")
@operation(
    "listSessions",
    "List sessions, newest first",
    answers={200: SessionPage},
    scope=Scope.READ,
    query=SessionQuery,
)
def index(query: SessionQuery) -> Answer:
    pages = ListPages(context.current().cursors, "sessions", query.filters())
    before = pages.moment_and_id(query.cursor)
    with context.current().database.read() as db:
        found = session_lists.page(db, query.filter(), auth.accounts(), before, query.limit + 1)
    page, cursor = pages.first_of(found, query.limit, lambda one: (one.requested_at.isoformat(), one.id))
    return Answer(SessionPage(sessions=[responses.session(one) for one in page], next_cursor=cursor))


@blueprint.get("/<uuid:session_id>")
@operation(
    "getSession",
    "Show a session and its timeline",
    answers={200: SessionWithTimeline},
    problems=("unknown-session",),
    scope=Scope.READ,
    query=SessionThenQuery,
)
def show(session_id: UUID, query: SessionThenQuery) -> Answer:
    """With `wait` it answers as soon as the session is so far, and needs not be asked again and again.

    With `as_of` it shows what was known of it then, whatever has come since.
    """
    until = query.until()
    with context.current().database.read() as db:
        session = auth.known(sessions.find(db, str(session_id), auth.accounts()))
        if not query.is_met_by(session):
            position = feed.last(db).position
            waiting.for_session(session.id, query.states(), position, query.wait_seconds)
        most = LONGEST_TIMELINE + 1 if until is None else None  # all of it tells what was known
        found = events.of_session(db, session.id, 0, most, until)
    page, cursor = _timeline(session_id, query.as_of).first_of(found, LONGEST_TIMELINE, _sequence)
    members = responses.session_members(session) if until is None else session_then.members(session, found)
    return Answer(
        SessionWithTimeline(
            **members,
            timeline=[responses.event(one) for one in page],
            timeline_next_cursor=cursor,
        )
    )


@blueprint.get("/<uuid:session_id>/timeline")
@operation(
    "listTimeline",
    "Show what happened to a session, oldest first",
    answers={200: TimelinePage},
    problems=("unknown-session",),
    scope=Scope.READ,
    query=TimelineThenQuery,
)
def show_timeline(session_id: UUID, query: TimelineThenQuery) -> Answer:
    pages = _timeline(session_id, query.as_of)
    place = pages.place(query.cursor)
    after = int(place[0]) if place else 0
    with context.current().database.read() as db:
        session = auth.known(sessions.find(db, str(session_id), auth.accounts()))
        found = events.of_session(db, session.id, after, query.limit + 1, query.until())
    page, cursor = pages.first_of(found, query.limit, _sequence)
    return Answer(TimelinePage(timeline=[responses.event(one) for one in page], next_cursor=cursor))


@blueprint.post("/<uuid:session_id>/stop")
@operation(
    "stopSession",
    "Stop recording",
    answers={202: SessionResponse},
    scope=Scope.STOP,
    problems=(
        *("unknown-session", "session-over", "session-merged", "session-without-sid", "account-without-key"),
        *(*TELNYX_FAILED, "telnyx-no-answer", "too-many-in-flight"),
    ),
    body=Empty,
    body_is_required=False,
)
def stop(session_id: UUID, body: Empty) -> Answer:  # noqa: ARG001
    """202: Telnyx took it. The state changes when Telnyx calls back. A 503 may be repeated."""
    session = context.current().sessions.stop(str(session_id), auth.key())
    return Answer(responses.session(session), 202)


def _timeline(session_id: UUID, as_of: str | None) -> ListPages:
    bound_to = {"session_id": str(session_id), **({} if as_of is None else {"as_of": as_of})}
    return ListPages(context.current().cursors, "timeline", bound_to)


def _sequence(event: events.Event) -> tuple[str]:
    return (str(event.sequence),)


def _status(started: Started, headers: dict[str, str]) -> int:
    """What the app is answered, from the row as it stands."""
    session, error = started.session, started.session.progress.error
    if session.deadline_at is not None:
        return 202  # Telnyx's answer could not be written yet: what is known is of an earlier attempt
    if session.progress.state is State.REFUSED and error is not None:
        problem = telnyx_problem(error, session.id, started.retry_after)
        problem.headers |= headers
        raise problem
    return 201 if session.answer and session.answer.kind is NoticeKind.ACCEPTED else 202


def _idempotency_key(body: StartRequest) -> IdempotencyKey:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return IdempotencyKey(auth.key().id)
    if not IDEMPOTENCY_KEY.fullmatch(key):
        errors = [wrong_field("header", "/Idempotency-Key", "1 to 255 visible ASCII characters")]
        raise Problem("invalid-request", errors=errors)
    # As parsed, without what is unset: a field that a later release adds changes no old request.
    plain = canonical_json(body.model_dump(mode="json", exclude_none=True, exclude_defaults=True))
    return IdempotencyKey(auth.key().id, key, hashlib.sha256(plain.encode()).digest())
