"""Journeys: Telnyx drops, delays and fails, and whoever is on duty sees what did not happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.sandbox import Answer, Behaviour, Sandbox
from service.sandbox.behaviour import Event
from tests.house import House, wait_until

QUICK = {
    "OVERDUE_START_SECONDS": "0.5",
    "OVERDUE_ANSWER_SECONDS": "0.5",
    "OVERDUE_STOP_SECONDS": "0.5",
    "OVERDUE_END_SECONDS": "0.5",
}
ALL: frozenset[Event] = frozenset({"siprec-started", "siprec-stopped", "siprec-failed"})
Build = Callable[..., House]


def overdue(house: House, session_id: str, kind: str | None, words: str = "") -> dict[str, Any]:
    """The session once it is that."""
    shown: dict[str, Any] = {}

    def is_so() -> bool:
        shown.update(house.session(session_id))
        found = shown["overdue"]
        return (
            found is None if kind is None else bool(found and found["kind"] == kind and words in found["why"])
        )

    wait_until(is_so, why=lambda: f"{shown}\n{house.web.log[-3000:]}")
    return shown


def listed(house: House, wanted: str) -> list[str]:
    return [one["id"] for one in house.get("/v1/sessions", overdue=wanted).json()["sessions"]]


def test_a_live_call_that_is_not_recorded_and_a_callback_that_overrules_it(
    build: Build, sandbox: Sandbox
) -> None:
    house = build(**QUICK)
    sandbox.behave(Behaviour(drop=ALL))
    session = house.start().json()
    shown = overdue(house, session["id"], "not_started", "probably not being recorded")
    assert (shown["state"], shown["call"]["status"]) == ("accepted", "in-progress")
    assert listed(house, "true") == listed(house, "not_started") == [session["id"]]
    assert listed(house, "false") == listed(house, "no_answer") == []
    sandbox.send(session["siprec_sid"], "siprec-started", Behaviour())
    late = overdue(house, session["id"], None)
    assert late["state"] == "started"
    told = {"siprec.session.overdue", "siprec.session.overdue-closed"}
    wait_until(lambda: told <= {one["type"] for one in house.get("/v1/events").json()["events"]})


def test_an_end_that_was_dropped_is_presumed_and_a_late_one_is_shown_beside(
    build: Build, sandbox: Sandbox
) -> None:
    house = build(**QUICK)
    sandbox.behave(Behaviour(drop=frozenset({"siprec-stopped"})))
    session = house.start().json()
    house.wait_for(session["id"], "started")
    sandbox.end_call("v3:call-1")
    shown = overdue(house, session["id"], "not_ended", "its call is over")
    assert shown["ended_at"] is None
    assert shown["presumed"]["ended_at"] is not None
    sandbox.send(session["siprec_sid"], "siprec-stopped", Behaviour())
    late = overdue(house, session["id"], None)
    assert (late["state"], late["presumed"]) == ("stopped", shown["presumed"])
    assert late["ended_at"] is not None


def test_a_stop_that_nothing_comes_of(build: Build, sandbox: Sandbox) -> None:
    house = build(**QUICK)
    sandbox.behave(Behaviour(drop=frozenset({"siprec-stopped"})))
    session = house.start().json()
    house.wait_for(session["id"], "started")
    house.post(f"/v1/sessions/{session['id']}/stop")
    overdue(house, session["id"], "not_stopped")
    sandbox.send(session["siprec_sid"], "siprec-stopped", Behaviour())
    overdue(house, session["id"], None)


def test_a_session_that_stops_while_its_call_goes_on(build: Build, sandbox: Sandbox) -> None:
    house = build()
    sandbox.behave(Behaviour(duration_seconds=0.2))
    session = house.start().json()
    shown = overdue(house, session["id"], "stopped_early", "no longer being recorded")
    assert shown["state"] == "stopped"


@pytest.mark.parametrize(
    "answer",
    [Answer("timeout"), Answer.error(429, retry_after_seconds=60), Answer.error(404), Answer.error(500)],
    ids=lambda answer: f"{answer.kind} {answer.status}",
)
def test_a_call_that_telnyx_says_nothing_of_is_unknown_never_over(
    build: Build, sandbox: Sandbox, answer: Answer
) -> None:
    house = build(**QUICK)
    sandbox.behave(Behaviour(drop=ALL, call_answer=answer))
    session = house.start().json()
    shown = overdue(house, session["id"], "not_started", "not know")
    assert shown["presumed"] is None


def test_an_answer_that_never_came(build: Build, sandbox: Sandbox) -> None:
    house = build(**QUICK, ASK_CALLS="off")
    sandbox.behave(Behaviour(answer=Answer.error(500), drop=ALL))
    session = house.start().json()
    shown = overdue(house, session["id"], "no_answer", "is not known")
    assert shown["call"] is None
    assert not [one for one in sandbox.requests if one.method == "GET"]
