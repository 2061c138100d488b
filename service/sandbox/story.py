"""Tells on a terminal what passes between app, ledger and Telnyx, in the order in which it happened."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import unquote

import click

from .program import Program
from .records import Delivery, Request
from .sessions import now

# How long a line waits, so that an earlier one that is heard of later still comes before it.
LAG = timedelta(milliseconds=150)
COLOURS = {"started": "cyan", "stopped": "green", "failed": "red", "refused": "red", "unanswered": "yellow"}


@dataclass(frozen=True)
class Line:
    at: datetime
    who: str
    text: str
    call_sid: str | None  # of which the ledger may know more


class Story:
    """What the sandbox hears and says, and next to it what the ledger writes into its timelines."""

    def __init__(self, service: Program, heard: "SimpleQueue[Request | Delivery]") -> None:
        self._service = service
        self._heard = heard
        self._untold: list[Line] = []
        self._read: set[int] = set()  # rows of timelines, by their sequence
        self._delivered: set[tuple[str, bytes]] = set()

    def add(self, who: str, text: str, at: datetime, call_sid: str | None = None) -> None:
        self._untold.append(Line(at, who, text, call_sid))

    def go_on(self) -> None:
        """Tell what is old enough."""
        self._tell(before=now() - LAG)

    def catch_up(self) -> None:
        """Tell everything."""
        self._tell(before=now())

    def _tell(self, before: datetime) -> None:
        for happened in _taken(self._heard):
            self._untold.append(self._line(happened))
        for call_sid in {line.call_sid for line in self._untold if line.call_sid}:
            self._read_timelines(call_sid)
        self._untold.sort(key=lambda line: line.at)
        while self._untold and self._untold[0].at <= before:
            line = self._untold.pop(0)
            click.echo(f"  {clock(line.at)}  {click.style(f'{line.who:6}', dim=True)}  {line.text}")

    def _line(self, happened: Request | Delivery) -> Line:
        if isinstance(happened, Request):
            return _asked(happened)
        call_sid = happened.fields.get("CallSid")
        sent = (happened.url, happened.body)
        again = " again" if sent in self._delivered else ""
        self._delivered.add(sent)
        outcome = happened.error or f"answered {happened.status}"
        text = f"tells {happened.event} of {call_sid}{again}: {outcome}"
        return Line(happened.at, "telnyx", text, call_sid)

    def _read_timelines(self, call_sid: str) -> None:
        for session in self._service.get("/v1/sessions", call_sid=call_sid)["sessions"]:
            for event in self._service.get(f"/v1/sessions/{session['id']}")["timeline"]:
                if event["sequence"] not in self._read:
                    self._read.add(event["sequence"])
                    at = datetime.fromisoformat(event["written_at"])
                    self._untold.append(Line(at, "ledger", _written(session, event), None))


def _taken(queue: "SimpleQueue[Request | Delivery]") -> Iterator[Request | Delivery]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


def _asked(request: Request) -> Line:
    match [unquote(part) for part in request.path.split("/")]:
        case [*_, "Calls", call_sid, "Siprec.json"]:
            return Line(request.at, "telnyx", f"is asked to record {call_sid}", call_sid)
        case [*_, "Calls", call_sid, "Siprec", _]:
            return Line(request.at, "telnyx", f"is asked to stop recording {call_sid}", call_sid)
    return Line(request.at, "telnyx", f"is asked to {request.method} {request.path}", None)


def _written(session: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    changes = dict(event["changes"])
    was, _ = changes.pop("state", (event["state"], event["state"]))
    facts = [f"call {session['call_sid']}"] if was is None else []
    facts += [f"{fact} {_value(after)}" for fact, (_, after) in changes.items()]
    return f"{short(session['id'])}  {state(event['state'])}  {', '.join(facts)}".rstrip()


def _value(value: Any) -> str:
    if isinstance(value, Mapping):  # an error
        return str(value.get("detail") or value.get("kind"))
    try:
        return clock(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return short(str(value))


def state(name: str) -> str:
    """A state in its colour, 10 columns wide."""
    return click.style(f"{name:10}", fg=COLOURS.get(name))


def clock(at: datetime) -> str:
    """A time of day, to the millisecond."""
    return at.strftime("%H:%M:%S.%f")[:-3]


def short(id: str) -> str:
    """The end of an id: ours begin with the time, and so all alike."""
    return id[-8:]
