"""Journey: each kind of overdue is found in time, overruled by a late callback, and shown all the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from service.sandbox import Answer, Behaviour, Sandbox
from service.sandbox.behaviour import Event
from tests.house import House, wait_until
from tests.test_overdue import ALL, QUICK, overdue

IN_TIME = timedelta(seconds=5)
OPENED, CLOSED = "siprec.session.overdue", "siprec.session.overdue-closed"


@dataclass(frozen=True)
class Case:
    """`kind` is overdue `after` so many seconds from when the `fact` was numbered: a change of the timeline.

    `words` say so; `late` overrules it, and says that the state is `then`.
    """

    kind: str
    words: str
    fact: tuple[str, str | None]
    after: float
    late: Event
    then: str
    behaviour: Behaviour

    @property
    def call_sid(self) -> str:
        return f"v3:{self.kind}"


UNSTOPPED = Behaviour(drop=frozenset({"siprec-stopped"}))
SHORT = Behaviour(duration_seconds=0.1)
FAILING = Behaviour(answer=Answer.error(500), starts=True, drop=ALL)
CASES = (
    Case(
        "not_started",
        "no siprec-started came within 0.5 s",
        ("state", "accepted"),
        0.5,
        "siprec-started",
        "started",
        Behaviour(drop=ALL),
    ),
    Case(
        "no_answer",
        "neither an answer nor a callback came",
        ("state", "unanswered"),
        0.5,
        "siprec-started",
        "started",
        FAILING,
    ),
    Case(
        "not_stopped",
        "no siprec-stopped came within 0.5 s of its stop",
        ("stop_requested_at", None),
        0.5,
        "siprec-stopped",
        "stopped",
        UNSTOPPED,
    ),
    Case(
        "not_ended",
        "no siprec-stopped came within 0.5 s of its start",
        ("state", "started"),
        0.5,
        "siprec-stopped",
        "stopped",
        UNSTOPPED,
    ),
    Case(
        "stopped_early",
        "nobody had asked for it here",
        ("state", "stopped"),
        5,
        "siprec-failed",
        "failed",
        SHORT,
    ),
)


def started(house: House, case: Case) -> str:
    """Its session, once the fact is there that its deadline runs from."""
    house.sandbox.behave(case.behaviour, case.call_sid)
    session_id = str(house.start(case.call_sid).json()["id"])
    if case.kind in {"not_stopped", "not_ended"}:
        house.wait_for(session_id, "started")
    if case.kind == "not_stopped":
        assert house.post(f"/v1/sessions/{session_id}/stop").status_code == 202
    if case.kind == "not_ended":
        house.sandbox.end_call(case.call_sid)
    return session_id


def lines(house: House, session_id: str, kind: str) -> list[dict[str, Any]]:
    """Of the feed, once there are any of this kind about the session."""
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        found[:] = house.get("/v1/events", session_id=session_id, limit=200).json()["events"]
        return any(one["type"] == kind for one in found)

    wait_until(are_there, why=lambda: f"{kind} in {found}")
    return found


def of_type(found: Sequence[dict[str, Any]], kind: str) -> dict[str, Any]:
    (one,) = [one for one in found if one["type"] == kind]
    data: dict[str, Any] = one["data"]
    return data


def numbered(found: Sequence[dict[str, Any]], fact: tuple[str, str | None]) -> datetime:
    """When the line was that told of it."""
    name, value = fact
    changes = [(one["data"]["changes"].get(name), one["data"]["numbered_at"]) for one in found]
    return next(datetime.fromisoformat(at) for change, at in changes if change and value in (change[1], None))


def explained(house: House, session_id: str) -> tuple[str, set[int]]:
    """All sentences, and the lines that they rest on."""
    sentences = house.get(f"/v1/sessions/{session_id}/explain").json()["sentences"]
    return " ".join(one["text"] for one in sentences), {at for one in sentences for at in one["positions"]}


def test_each_kind_is_found_in_time_and_a_late_callback_overrules_it(
    build: Callable[..., House], sandbox: Sandbox
) -> None:
    house = build(**QUICK)
    sessions = [(case, started(house, case)) for case in CASES]
    for case, session_id in sessions:
        overdue(house, session_id, case.kind, case.words)
        found = lines(house, session_id, OPENED)
        opened = of_type(found, OPENED)
        deadline = numbered(found, case.fact) + timedelta(seconds=case.after)
        late = datetime.fromisoformat(opened["written_at"]) - deadline  # both by the database's clock
        assert timedelta(0) <= late < IN_TIME, f"{case.kind}: {late}"
        text, positions = explained(house, session_id)
        assert case.words.lower() in text.lower()
        assert opened["position"] in positions

    for case in CASES:
        (sid,) = [one.sid for one in sandbox.sessions if one.call_sid == case.call_sid]
        sandbox.send(sid, case.late, Behaviour())
    for case, session_id in sessions:
        shown = overdue(house, session_id, None)
        assert shown["state"] == case.then
        found = lines(house, session_id, CLOSED)
        opened, closed = of_type(found, OPENED), of_type(found, CLOSED)
        assert (closed["changes"]["overdue"][0]["kind"], closed["changes"]["overdue"][1]) == (case.kind, None)
        text, positions = explained(house, session_id)
        assert "it was overdue" in text
        assert "it was overdue no longer" in text
        assert {opened["position"], closed["position"]} <= positions
