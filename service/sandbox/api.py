"""Telnyx's side of the contract: starting and stopping SIPREC sessions, asking for calls and connectors.

developers.telnyx.com/api-reference/texml-rest-commands/request-siprec-session-for-a-call
developers.telnyx.com/api-reference/texml-rest-commands/updates-siprec-session-for-a-call
"""

import hmac
from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime
from threading import Event
from typing import Any
from urllib.parse import quote

from .behaviour import Answer, Behaviour
from .orders import read_fields, read_session, wants_stop
from .records import Request
from .refusal import NOT_FOUND, Refusal, Reply
from .sessions import Session, now
from .switchboard import Switchboard, UnknownSession
from .wire import Wire

LONGEST_TELLING_SECONDS = 60.0  # of a callback that comes before the answer, with all its retries
HTML = b"<!doctype html><title>Bad gateway</title><h1>This is not JSON</h1>"

Members = dict[str, Any]


class TelnyxApi:
    """What is below /v2."""

    def __init__(self, api_key: str, public_key: str) -> None:
        self._api_key = api_key
        self._public_key = public_key

    def serve(self, board: Switchboard, request: Request, segments: list[str], wire: Wire) -> None:
        """Answer `request`, whose path below /v2 is `segments`, percent-decoded. Raises Refusal."""
        self._require_key(request)
        match request.method, segments:
            case "POST", ["texml", "Accounts", account, "Calls", call, "Siprec.json"]:
                self._start(board, request, wire, account, call)
            case "POST", ["texml", "Accounts", account, "Calls", call, "Siprec", file] if file.endswith(
                ".json"
            ):
                self._stop(board, request, wire, (account, call, file.removesuffix(".json")))
            case "GET", ["texml", "Accounts", account, "Calls", call]:
                self._call(board, wire, account, call)
            case "GET", ["siprec_connectors", name]:
                self._connector(board, wire, name)
            case "GET", ["public_key"]:
                wire.say(Reply.json({"data": {"public": self._public_key}}))
            case _:
                raise Refusal(404, NOT_FOUND)

    def _require_key(self, request: Request) -> None:
        said = request.headers.get("authorization", "")
        if not hmac.compare_digest(said.encode(), f"Bearer {self._api_key}".encode()):
            raise Refusal(401, "The API key is missing, or it is not the sandbox's.")

    def _start(
        self, board: Switchboard, request: Request, wire: Wire, account_sid: str, call_sid: str
    ) -> None:
        behaviour = board.behaviour(call_sid)
        _require_known(behaviour, account_sid, call_sid)
        session = read_session(account_sid, call_sid, read_fields(request.body))
        if board.call(call_sid).ended_at is not None:
            raise Refusal(422, "Call has already ended", code="90018")
        answer = board.next_answer(behaviour.answer, call_sid, "start")
        is_accepted = answer.kind == "accept"
        starts = is_accepted if behaviour.starts is None else behaviour.starts
        if starts or is_accepted:
            board.enter(session)
        begin = _begin(board, wire, session, behaviour) if starts else _nothing
        early = not is_accepted or behaviour.started_before_answer
        _answer(board, wire, answer, _started(session), begin, early)

    def _stop(self, board: Switchboard, request: Request, wire: Wire, sids: tuple[str, str, str]) -> None:
        account_sid, call_sid, sid = sids
        behaviour = board.behaviour(call_sid)
        _require_known(behaviour, account_sid, call_sid)
        session = _session(board, *sids)
        if session.is_over and behaviour.ended_is_unknown:
            raise Refusal(404, NOT_FOUND)
        is_stop = wants_stop(read_fields(request.body))
        answer = board.next_answer(behaviour.stop_answer, call_sid, "stop")
        is_accepted = answer.kind == "accept"
        stops = is_stop and (is_accepted if behaviour.stops is None else behaviour.stops)
        end = (lambda: board.course(sid).end(behaviour)) if stops else _nothing
        _answer(board, wire, answer, _updated(session), end, early=not is_accepted)

    def _call(self, board: Switchboard, wire: Wire, account_sid: str, call_sid: str) -> None:
        behaviour = board.behaviour(call_sid)
        _require_known(behaviour, account_sid, call_sid)
        answer = board.next_answer(behaviour.call_answer, call_sid, "call")
        _play(wire, answer, _called(board, behaviour, account_sid, call_sid))

    def _connector(self, board: Switchboard, wire: Wire, name: str) -> None:
        behaviour = board.behaviour()
        if behaviour.known_connectors is not None and name not in behaviour.known_connectors:
            raise Refusal(404, NOT_FOUND)
        answer = board.next_answer(behaviour.connector_answer, name, "connector")
        host = {"host": "srs.example.com", "port": 5060, "app_subdomain": None}
        _play(wire, answer, {"data": {"record_type": "siprec_connector", "name": name, **host}})


def _answer(
    board: Switchboard,
    wire: Wire,
    answer: Answer,
    members: Members,
    happen: Callable[[], object],
    early: bool,
) -> None:
    """Answer, and let the thing happen that was asked for: before the answer if `early`, else after it."""
    if early:
        happen()
        _play(wire, answer, members)
        return
    with board.agenda.busy():
        try:
            _play(wire, answer, members)
        finally:  # that nobody waited for the answer undoes nothing
            happen()


def _play(wire: Wire, answer: Answer, members: Members) -> None:
    """Answer as told; `members` are those of an accepting answer."""
    if answer.kind == "timeout" and answer.delay_seconds == 0:
        wire.hang()
        return
    wire.wait(answer.delay_seconds)
    match answer.kind:
        case "accept":
            left_out = [name for name, value in answer.fields.items() if value is None]
            said = {**members, **answer.fields}
            wire.say(Reply.json({name: said[name] for name in said if name not in left_out}))
        case "timeout" | "close":
            wire.hang_up()
        case "reset":
            wire.reset()
        case "unreadable":
            wire.say(Reply(200, HTML, {"content-type": "text/html"}))
        case "error":
            wire.say(_error(answer))


def _error(answer: Answer) -> Reply:
    status = answer.status or 500
    headers = {}
    if status == 429:
        reset = str(answer.retry_after_seconds or 1)
        headers = {"x-ratelimit-limit": "50", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
    if answer.retry_after_seconds is not None:
        headers["retry-after"] = str(answer.retry_after_seconds)
    detail = answer.detail or (NOT_FOUND if status == 404 else "The sandbox was told to refuse this.")
    return Refusal(status, detail, code=answer.code, headers=headers).reply


def _begin(board: Switchboard, wire: Wire, session: Session, behaviour: Behaviour) -> Callable[[], object]:
    course = board.course(session.sid)
    if not behaviour.started_before_answer:
        return lambda: course.begin(behaviour)

    def begin_and_tell() -> None:
        told = Event()
        course.begin(behaviour, told.set)
        wire.wait_for(told, behaviour.started_after_seconds + LONGEST_TELLING_SECONDS)

    return begin_and_tell


def _nothing() -> None:
    """What happens where nothing does."""


def _require_known(behaviour: Behaviour, account_sid: str, call_sid: str) -> None:
    accounts, calls = behaviour.known_accounts, behaviour.known_calls
    if (accounts is not None and account_sid not in accounts) or (
        calls is not None and call_sid not in calls
    ):
        raise Refusal(404, NOT_FOUND)


def _session(board: Switchboard, account_sid: str, call_sid: str, sid: str) -> Session:
    try:
        session = board.course(sid).session
    except UnknownSession as unknown:
        raise Refusal(404, NOT_FOUND) from unknown
    if (session.account_sid, session.call_sid) != (account_sid, call_sid):
        raise Refusal(404, NOT_FOUND)
    return session


def _started(session: Session) -> Members:
    created = format_datetime(session.created_at)
    return {
        **_updated(session),
        "date_created": created,
        "start_time": created,
        "track": session.track,
    }


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


def _called(board: Switchboard, behaviour: Behaviour, account_sid: str, call_sid: str) -> Members:
    call = board.call(call_sid)
    until: datetime = call.ended_at or now()
    truth = "in-progress" if call.ended_at is None else "completed"
    return {
        "account_sid": account_sid,
        "sid": call_sid,
        "status": behaviour.call_status or truth,
        "direction": "inbound",
        "from": "+12025550101",
        "to": "+12025550102",
        "date_created": format_datetime(call.began_at),
        "date_updated": format_datetime(until),
        "start_time": format_datetime(call.began_at),
        "end_time": None if call.ended_at is None else format_datetime(call.ended_at),
        "duration": str(int((until - call.began_at).total_seconds())),
        "uri": _call_uri(account_sid, call_sid),
    }


def _call_uri(account_sid: str, call_sid: str) -> str:
    return f"/v2/texml/Accounts/{_quote(account_sid)}/Calls/{_quote(call_sid)}"


def _quote(segment: str) -> str:
    return quote(segment, safe=":")
