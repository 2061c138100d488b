"""The sandbox's own door, /sandbox: lets other processes, and people with curl, do what tests do."""

from collections.abc import Mapping
from typing import Any

from .behaviour import Behaviour
from .members import BadBehaviour
from .orders import read_json, read_session
from .records import Request
from .refusal import Refusal, Reply
from .shapes import shape
from .switchboard import NoStatusCallback, Switchboard, UnknownSession

DOORS = (
    "PUT /sandbox/behaviour",
    "PUT /sandbox/calls/{call_sid}/behaviour",
    "POST /sandbox/calls/{call_sid}/end",
    "POST /sandbox/sessions",
    "POST /sandbox/sessions/{sid}/callbacks",
    "GET /sandbox/requests",
    "GET /sandbox/deliveries",
    "GET /sandbox/sessions",
    "DELETE /sandbox",
)


def serve(board: Switchboard, request: Request, segments: list[str]) -> Reply:
    """Do what `request` asks, whose path below /sandbox is `segments`, percent-decoded. Raises Refusal.

    DELETE /sandbox is not among it: a switchboard cannot forget itself.
    """
    match request.method, segments:
        case "PUT", ["behaviour"]:
            return _behave(board, request, None)
        case "PUT", ["calls", call_sid, "behaviour"]:
            return _behave(board, request, call_sid)
        case "POST", ["calls", call_sid, "end"]:
            return Reply.json({"ended": shape(board.end_call(call_sid))})
        case "POST", ["sessions"]:
            return _begin(board, request)
        case "POST", ["sessions", sid, "callbacks"]:
            return _send(board, request, sid)
        case "GET", ["requests"]:
            return Reply.json({"requests": shape(board.requests)})
        case "GET", ["deliveries"]:
            return Reply.json({"deliveries": shape(board.deliveries)})
        case "GET", ["sessions"]:
            return Reply.json({"sessions": shape(board.sessions)})
        case _:
            raise Refusal(404, f"{request.method} {request.path}: no such door; there are {', '.join(DOORS)}")


def _behave(board: Switchboard, request: Request, call_sid: str | None) -> Reply:
    behaviour = _read_behaviour(read_json(request.body))
    board.behave(behaviour, call_sid)
    return Reply.json(behaviour.to_json())


def _begin(board: Switchboard, request: Request) -> Reply:
    members = _read_members(request, "account_sid", "call_sid", "StatusCallback", "StatusCallbackMethod")
    account_sid, call_sid = _text(members, "account_sid"), _text(members, "call_sid")
    fields = {name: _text(members, name) for name in members if name.startswith("Status")}
    session = board.begin(read_session(account_sid, call_sid, fields))
    return Reply.json(shape(session), 201)


def _send(board: Switchboard, request: Request, sid: str) -> Reply:
    members = _read_members(request, "event", "fields", "behaviour")
    event = _text(members, "event")
    try:
        session = board.course(sid).session
        chosen = members.get("behaviour")
        behaviour = board.behaviour(session.call_sid) if chosen is None else _read_behaviour(chosen)
        delivery = board.send(session, event, behaviour.with_fields(members.get("fields", {})))
    except UnknownSession as unknown:
        raise Refusal(404, str(unknown)) from unknown
    except NoStatusCallback as nowhere:
        raise Refusal(409, str(nowhere)) from nowhere
    except BadBehaviour as bad:
        raise Refusal(422, str(bad)) from bad
    return Reply.json(shape(delivery))


def _read_members(request: Request, *known: str) -> Mapping[str, Any]:
    members = read_json(request.body)
    unknown = sorted(set(members) - set(known))
    if unknown:
        raise Refusal(422, f"{', '.join(unknown)}: no such member; there are {', '.join(known)}")
    return members


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise Refusal(422, f"{name} must be text, not {value!r}")
    return value


def _read_behaviour(document: object) -> Behaviour:
    try:
        return Behaviour.from_json(document)
    except BadBehaviour as bad:
        raise Refusal(422, str(bad)) from bad
