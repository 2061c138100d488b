"""Shows on a terminal what passes between app, ledger and Telnyx, in the order in which it happened."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from queue import SimpleQueue
from typing import Any
from urllib.parse import unquote

import click

from .program import Program
from .sessions import now
from .traffic import Delivery, Request

# How long a line waits, so that an earlier one that is known only later still comes before it.
LAG = timedelta(milliseconds=150)
COLOURS = {"started": "cyan", "stopped": "green", "failed": "red", "refused": "red", "unanswered": "yellow"}


@dataclass(frozen=True)
class Line:
    at: datetime
    who: str
    text: str
    call_sid: str | None = None  # of which the ledger may know more


class Console:
    """The sandbox's traffic, and next to it what the ledger writes into its timelines."""

    def __init__(self, service: Program, traffic: "SimpleQueue[Request | Delivery]") -> None:
        self._service = service
        self._traffic = traffic
        self._waiting: list[Line] = []
        self._timeline: set[int] = set()  # rows that were read, by their sequence
        self._delivered: set[tuple[str, bytes]] = set()

    def add(self, line: Line) -> None:
        self._waiting.append(line)

    def show(self, lag: timedelta = timedelta()) -> None:
        """Print what is older than `lag`."""
        before = now() - lag
        while not self._traffic.empty():
            self.add(self._line(self._traffic.get()))
        for call_sid in {line.call_sid for line in self._waiting if line.call_sid}:
            self._read_timelines(call_sid)
        self._waiting.sort(key=attrgetter("at"))
        while self._waiting and self._waiting[0].at <= before:
            line = self._waiting.pop(0)
            click.echo(f"  {_clock(line.at)}  {click.style(f'{line.who:6}', dim=True)}  {line.text}")

    def _line(self, happened: Request | Delivery) -> Line:
        if isinstance(happened, Delivery):
            sent = (happened.url, happened.body)
            again = " again" if sent in self._delivered else ""
            self._delivered.add(sent)
            call_sid = happened.fields.get("CallSid")
            outcome = happened.error or f"answered {happened.status}"
            return Line(
                happened.at, "telnyx", f"tells {happened.event} of {call_sid}{again}: {outcome}", call_sid
            )
        match [unquote(part) for part in happened.path.split("/")]:
            case [*_, "Calls", call_sid, "Siprec.json"]:
                return Line(happened.at, "telnyx", f"is asked to record {call_sid}", call_sid)
            case [*_, "Calls", call_sid, "Siprec", _]:
                return Line(happened.at, "telnyx", f"is asked to stop recording {call_sid}", call_sid)
        return Line(happened.at, "telnyx", f"is asked to {happened.method} {happened.path}")

    def _read_timelines(self, call_sid: str) -> None:
        for session in self._service.get("/v1/sessions", call_sid=call_sid)["sessions"]:
            for event in self._service.get(f"/v1/sessions/{session['id']}")["timeline"]:
                if event["sequence"] not in self._timeline:
                    self._timeline.add(event["sequence"])
                    at = datetime.fromisoformat(event["written_at"])
                    self.add(Line(at, "ledger", _describe(session, event)))


def _describe(session: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    changes = dict(event["changes"])
    before, _ = changes.pop("state", (event["state"], event["state"]))
    facts = [f"call {session['call_sid']}"] if before is None else []
    facts += [f"{name} {_value(after)}" for name, (_, after) in changes.items()]
    state = click.style(f"{event['state']:10}", fg=COLOURS.get(event["state"]))
    return f"{short(session['id'])}  {state}  {', '.join(facts)}".rstrip()


def _value(value: Any) -> str:
    if isinstance(value, Mapping):  # an error
        return str(value.get("detail") or value.get("kind"))
    try:
        return _clock(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return short(str(value))


def _clock(at: datetime) -> str:
    return at.strftime("%H:%M:%S.%f")[:-3]


def short(id: str) -> str:
    """The end of an id: ours begin with the time, and so all alike."""
    return id[-8:]
