"""The main job, end to end: an app asks, a call is recorded, and we can say what became of it."""

from __future__ import annotations

import requests

from service.sandbox import Behaviour, Sandbox
from tests.house import House


def test_a_call_is_recorded_from_start_to_stop(house: House, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(drop=frozenset({"siprec-started", "siprec-stopped"})))
    answer = house.start(connector_name="recorder", reference="claim 77", labels={"team": "fraud"})
    assert answer.status_code == 201
    session = answer.json()
    assert session["state"] == "accepted"
    assert answer.headers["Location"] == f"/v1/sessions/{session['id']}"

    url, sid = house.callback_url(), session["siprec_sid"]
    for event in ("siprec-started", "siprec-stopped"):
        if event == "siprec-stopped":
            assert house.post(f"/v1/sessions/{session['id']}/stop").status_code == 202
        body = sandbox.compose(sid, event)
        kept = requests.post(url, data=body, headers=sandbox.sign(body), timeout=10)
        assert (kept.status_code, kept.content) == (200, b"")

    told = house.session(session["id"])
    assert told["state"] == "stopped"
    assert told["requested_at"] < told["accepted_at"] < told["started_at"] < told["ended_at"]
    assert told["reference"] == "claim 77"
    assert [event["state"] for event in told["timeline"]] == [
        "requested",
        "accepted",
        "started",
        "started",  # the wish to stop it
        "stopped",
    ]
    assert [c["event"] for c in house.callbacks(session["id"])] == ["siprec-started", "siprec-stopped"]


def test_a_session_that_fails_says_why(house: House, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(fails="no-answer"))
    session_id = house.start().json()["id"]
    told = house.wait_for(session_id, "failed")
    assert told["error"] == {"kind": "siprec_failed", "status": None, "code": None, "detail": "no-answer"}


def test_callbacks_by_get_are_heard_too(house: House, sandbox: Sandbox) -> None:
    session_id = house.start(status_callback_method="GET").json()["id"]
    house.wait_for(session_id, "started")
    assert house.callbacks(session_id)[0]["method"] == "GET"
    assert house.post(f"/v1/sessions/{session_id}/stop").status_code == 202
    house.wait_for(session_id, "stopped")
