"""The sandbox's own endpoints, /sandbox: let other processes, and people with curl, do what tests do."""

from typing import Annotated, Any

from flask import Blueprint, Response, g, jsonify
from pydantic import BaseModel, Field

from .behaviour import Behaviour
from .fields import Start, read_json
from .validation import Replacements, read

Text = Annotated[str, Field(min_length=1)]

control = Blueprint("control", __name__, url_prefix="/sandbox")


class NewSession(Start, extra="forbid"):
    account_sid: Text = Field(alias="account_sid")
    call_sid: Text = Field(alias="call_sid")


class NewCallback(BaseModel, extra="forbid"):
    event: Text
    fields: Replacements = {}
    behaviour: Behaviour | None = None


@control.delete("")
def forget() -> dict[str, Any]:
    g.state.forget()
    return {}


@control.get("/<any(requests, deliveries, sessions):what>")
def show(what: str) -> dict[str, Any]:
    return {what: getattr(g.state, what)}


@control.put("/behaviour", defaults={"call_sid": None})
@control.put("/calls/<segment:call_sid>/behaviour")
def behave(call_sid: str | None) -> dict[str, Any]:
    behaviour = read(Behaviour, read_json(g.request.body))
    g.state.behave(behaviour, call_sid)
    return behaviour.to_json()


@control.post("/calls/<segment:call_sid>/end")
def end_call(call_sid: str) -> dict[str, Any]:
    return {"ended": g.state.end_call(call_sid)}


@control.post("/sessions")
def begin() -> tuple[Response, int]:
    new = read(NewSession, read_json(g.request.body))
    session = new.session(new.account_sid, new.call_sid)
    g.state.enter(session).begin(g.state.behaviour(new.call_sid))
    return jsonify(session), 201


@control.post("/sessions/<segment:sid>/callbacks")
def send(sid: str) -> Response:
    new = read(NewCallback, read_json(g.request.body))
    return jsonify(g.state.send(sid, new.event, new.behaviour, **new.fields))
