"""Telnyx's side of the contract: starting and stopping SIPREC sessions, asking for calls and connectors.

developers.telnyx.com/api-reference/texml-rest-commands/request-siprec-session-for-a-call
developers.telnyx.com/api-reference/texml-rest-commands/updates-siprec-session-for-a-call
"""

import time
from collections.abc import Callable
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, g, jsonify, request

from .behaviour import Answer, Behaviour
from .connection import Connection
from .fields import Start, Update, read_fields
from .refusal import NOT_FOUND, Refusal
from .session_run import SessionRun
from .sessions import Session, now
from .state import State
from .validation import read

GLANCE_SECONDS = 0.02
LONGEST_DELIVERY_SECONDS = 60.0  # of a callback that comes before the answer, with all its retries
HTML = "<!doctype html><title>Bad gateway</title><h1>This is not JSON</h1>"

Members = dict[str, Any]

api = Blueprint("api", __name__, url_prefix="/v2")


@api.post("/texml/Accounts/<segment:account_sid>/Calls/<segment:call_sid>/Siprec.json")
def start(account_sid: str, call_sid: str) -> Response:
    state: State = g.state
    behaviour = _known(account_sid, call_sid)
    session = read(Start, read_fields(g.request.body)).session(account_sid, call_sid)
    if state.call(call_sid).ended_at is not None:
        raise Refusal(422, "Call has already ended", code="90018")
    answer = state.next_answer("answer", call_sid)
    is_accepted = answer.kind == "accept"
    starts = is_accepted if behaviour.starts is None else behaviour.starts
    if starts or is_accepted:
        run = state.enter(session)
    if starts:
        _let_happen(lambda: run.begin(behaviour), not is_accepted or behaviour.started_before_answer)
    if starts and behaviour.started_before_answer:
        _wait_until_announced(run, behaviour.started_after_seconds + LONGEST_DELIVERY_SECONDS)
    return _play(answer, _started(session))


@api.post("/texml/Accounts/<segment:account_sid>/Calls/<segment:call_sid>/Siprec/<segment:sid>.json")
def stop(account_sid: str, call_sid: str, sid: str) -> Response:
    behaviour = _known(account_sid, call_sid)
    run = _run(account_sid, call_sid, sid)
    if run.session.is_over and behaviour.ended_is_unknown:
        raise Refusal(404, NOT_FOUND)
    is_stop = read(Update, read_fields(g.request.body)).status is not None
    answer: Answer = g.state.next_answer("stop_answer", call_sid)
    is_accepted = answer.kind == "accept"
    members = _updated(run.session)
    if is_stop and (is_accepted if behaviour.stops is None else behaviour.stops):
        _let_happen(lambda: run.end(behaviour), not is_accepted)
    return _play(answer, members)


@api.get("/texml/Accounts/<segment:account_sid>/Calls/<segment:call_sid>")
def call(account_sid: str, call_sid: str) -> Response:
    behaviour = _known(account_sid, call_sid)
    return _play(g.state.next_answer("call_answer", call_sid), _called(behaviour, account_sid, call_sid))


@api.get("/siprec_connectors/<segment:name>")
def connector(name: str) -> Response:
    behaviour: Behaviour = g.state.behaviour()
    if behaviour.known_connectors is not None and name not in behaviour.known_connectors:
        raise Refusal(404, NOT_FOUND)
    host = {"host": "srs.example.com", "port": behaviour.connector_port, "app_subdomain": None}
    data = {"record_type": "siprec_connector", "name": name, **host}
    return _play(g.state.next_answer("connector_answer"), {"data": data})


@api.get("/public_key")
def public_key() -> Members:
    return {"data": {"public": g.state.public_key}}


def _connection() -> Connection:
    connection: Connection = request.environ["sandbox.connection"]
    return connection


def _let_happen(happen: Callable[[], object], is_early: bool) -> None:
    """At once, or else once the answer was given; that nobody waited for it undoes nothing."""
    if is_early:
        happen()
    else:
        _connection().afterwards = g.state.scheduler.unfinished(happen)


def _wait_until_announced(run: SessionRun, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not run.is_announced and time.monotonic() < deadline:
        _connection().wait(GLANCE_SECONDS)


def _play(answer: Answer, members: Members) -> Response:
    """What `answer` says, `members` if it accepts. Raises ConnectionError to give no answer."""
    connection = _connection()
    if answer.kind == "timeout" and answer.delay_seconds == 0:
        connection.hang()
    connection.wait(answer.delay_seconds)
    match answer.kind:
        case "accept":
            merged = {**members, **answer.fields}
            left_out = [name for name, value in answer.fields.items() if value is None]
            return jsonify({name: value for name, value in merged.items() if name not in left_out})
        case "unreadable":
            return Response(HTML, content_type="text/html")
        case "error":
            return _error(answer)
        case "reset":
            connection.reset()
    raise ConnectionAbortedError


def _error(answer: Answer) -> Response:
    status = answer.status or 500
    headers = {}
    if status == 429:
        reset = str(answer.retry_after_seconds or 1)
        headers = {"x-ratelimit-limit": "50", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
    if answer.retry_after_seconds is not None:
        headers["retry-after"] = str(answer.retry_after_seconds)
    detail = answer.detail or (NOT_FOUND if status == 404 else "The sandbox's behaviour is to refuse this.")
    return Refusal(status, detail, code=answer.code, headers=headers).response()


def _known(account_sid: str, call_sid: str) -> Behaviour:
    """How to behave on a call. Raises Refusal if it is to be unknown."""
    behaviour: Behaviour = g.state.behaviour(call_sid)
    for known, sid in ((behaviour.known_accounts, account_sid), (behaviour.known_calls, call_sid)):
        if known is not None and sid not in known:
            raise Refusal(404, NOT_FOUND)
    return behaviour


def _run(account_sid: str, call_sid: str, sid: str) -> SessionRun:
    run: SessionRun | None = g.state.runs.get(sid)
    if run is None or (run.session.account_sid, run.session.call_sid) != (account_sid, call_sid):
        raise Refusal(404, NOT_FOUND)
    return run


def _started(session: Session) -> Members:
    created = format_datetime(session.created_at)
    times = {"date_created": created, "start_time": created}
    return {**_updated(session), **times, "track": session.track}


def _updated(session: Session) -> Members:
    """As documented, the answer to a stop still says in-progress: the callback is the end of a session."""
    return {
        "account_sid": session.account_sid,
        "call_sid": session.call_sid,
        "sid": session.sid,
        "date_updated": format_datetime(session.updated_at),
        "status": "stopped" if session.is_over else "in-progress",
        "uri": f"{_call_uri(session.account_sid, session.call_sid)}/Siprec/{_quote(session.sid)}.json",
        "error_code": None,
    }


def _called(behaviour: Behaviour, account_sid: str, call_sid: str) -> Members:
    call = g.state.call(call_sid)
    until = call.ended_at or now()
    began = format_datetime(call.began_at)
    return {
        "account_sid": account_sid,
        "sid": call_sid,
        "status": behaviour.call_status or ("in-progress" if call.ended_at is None else "completed"),
        "direction": "inbound",
        "from": "+12025550101",
        "to": "+12025550102",
        "date_created": began,
        "date_updated": format_datetime(until),
        "start_time": began,
        "end_time": None if call.ended_at is None else format_datetime(call.ended_at),
        "duration": str(int((until - call.began_at).total_seconds())),
        "uri": _call_uri(account_sid, call_sid),
    }


def _call_uri(account_sid: str, call_sid: str) -> str:
    return f"/v2/texml/Accounts/{_quote(account_sid)}/Calls/{_quote(call_sid)}"


def _quote(segment: str) -> str:
    return quote(segment, safe=":")
