"""Shows on a terminal what passes between app, ledger and Telnyx, in the order in which it happened."""

import time
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
LAG = timedelta(milliseconds=400)
READ_SECONDS = 0.2  # between two looks at the feed
COLOURS = {"started": "cyan", "stopped": "green", "failed": "red", "refused": "red", "unanswered": "yellow"}


@dataclass(frozen=True)
class Line:
    at: datetime
    who: str
    text: str


class Console:
    """The sandbox's traffic, and next to it what the ledger writes: its feed, but for made-up history."""

    def __init__(self, service: Program, traffic: "SimpleQueue[Request | Delivery | Line]") -> None:
        """What is put into `traffic`, by whatever thread, is shown."""
        self._service = service
        self._traffic = traffic
        self._waiting: list[Line] = []
        self._cursor = "now"
        self._read_at = 0.0  # monotonic
        self._delivered: set[tuple[str, bytes]] = set()

    def begin(self) -> None:
        """From now on, once the service runs."""
        self._cursor = self._service.get("/v1/events", after="now")["next"]

    def add(self, line: Line) -> None:
        self._waiting.append(line)

    def show(self, lag: timedelta = timedelta()) -> None:
        """Print what is older than `lag`."""
        before = now() - lag
        while not self._traffic.empty():
            self.add(self._line(self._traffic.get()))
        if not lag or time.monotonic() - self._read_at >= READ_SECONDS:
            self._read_feed()
        self._waiting.sort(key=attrgetter("at"))
        while self._waiting and self._waiting[0].at <= before:
            line = self._waiting.pop(0)
            click.echo(f"  {_clock(line.at)}  {click.style(f'{line.who:6}', dim=True)}  {line.text}")

    def _line(self, happened: Request | Delivery | Line) -> Line:
        if isinstance(happened, Line):
            return happened
        if isinstance(happened, Delivery):
            sent = (happened.url, happened.body)
            again = " again" if sent in self._delivered else ""
            self._delivered.add(sent)
            call_sid = happened.fields.get("CallSid")
            outcome = happened.error or f"answered {happened.status}"
            return Line(happened.at, "telnyx", f"tells {happened.event} of {call_sid}{again}: {outcome}")
        match [unquote(part) for part in happened.path.split("/")]:
            case [*_, "Calls", call_sid, "Siprec.json"]:
                return Line(happened.at, "telnyx", f"is asked to record {call_sid}")
            case [*_, "Calls", call_sid, "Siprec", _]:
                return Line(happened.at, "telnyx", f"is asked to stop recording {call_sid}")
            case [*_, "Calls", call_sid]:
                return Line(happened.at, "telnyx", f"is asked whether {call_sid} goes on")
        return Line(happened.at, "telnyx", f"is asked to {happened.method} {happened.path}")

    def _read_feed(self) -> None:
        self._read_at = time.monotonic()
        while True:
            page = self._service.get("/v1/events", after=self._cursor)
            self._cursor = page["next"]
            for event in page["events"]:
                session = event["data"]["session"]
                if session is not None and session["labels"].get("demo") != "history":
                    at = datetime.fromisoformat(event["data"]["written_at"])
                    self.add(Line(at, "ledger", _describe(session, event["data"]["changes"])))
            if not page["events"]:
                return


def _describe(session: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    before, _ = changes.get("state", (session["state"], None))
    facts = [f"call {session['call_sid']}"] if before is None else []
    facts += [f"{name} {_value(after)}" for name, (_, after) in changes.items() if name != "state"]
    state = click.style(f"{session['state']:10}", fg=COLOURS.get(session["state"]))
    return f"{short(session['id'])}  {state}  {', '.join(facts)}".rstrip()


def _value(value: Any) -> str:
    if isinstance(value, Mapping):  # an error, what is overdue, a call, what is presumed
        said = (value.get(name) for name in ("detail", "kind", "status", "why"))
        return str(next(filter(None, said), value))
    if value is None:
        return "no longer"
    try:
        return _clock(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return short(str(value))


def _clock(at: datetime) -> str:
    return at.strftime("%H:%M:%S.%f")[:-3]


def short(id: str) -> str:
    """The end of an id: ours begin with the time, and so all alike."""
    return id[-8:]
