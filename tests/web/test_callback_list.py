"""All callbacks, and those that something is wrong with."""

from __future__ import annotations

from typing import Any

from service.sandbox import Session
from tests.web.indoors import FORM, Indoors


def listed(indoors: Indoors, **query: Any) -> list[dict[str, Any]]:
    """Over all pages."""
    found: list[dict[str, Any]] = []
    while True:
        page = indoors.client.get("/v1/callbacks", query_string=query)
        assert page.status_code == 200, page.text
        found += page.json["callbacks"]
        if page.json["next_cursor"] is None:
            return found
        query["cursor"] = page.json["next_cursor"]


def stray(indoors: Indoors) -> None:
    """Signed, without a token, and without the ids that name a session."""
    body = indoors.sandbox.compose(Session("account-1", "v3:x", "sid-x"), "siprec-started", CallSid=None)
    told = indoors.stranger.post(
        "/callbacks/siprec", data=body, headers=indoors.sandbox.sign(body), content_type=FORM
    )
    assert told.status_code == 200


def test_callbacks_with_a_problem_are_found_also_without_a_session(indoors: Indoors) -> None:
    session_id = indoors.started()
    indoors.tell("siprec-started")
    indoors.tell("siprec-paused")
    indoors.tell("siprec-stopped", CallSid="v3:another")
    stray(indoors)
    problems = {callback["problem"]: callback["session_id"] for callback in listed(indoors, problem="true")}
    assert list(problems.values()) == [None, session_id, session_id]  # newest first
    assert ["belongs to no session" in told for told in problems] == [True, False, False]
    assert ["another call" in told for told in problems] == [False, True, False]
    assert ["SiprecEvent is unknown" in told for told in problems] == [False, False, True]
    assert [callback["event"] for callback in listed(indoors, problem="false")] == ["siprec-started"]
    assert len(listed(indoors)) == 4


def test_pages_skip_and_repeat_nothing(indoors: Indoors) -> None:
    indoors.started()
    for number in range(7):
        indoors.tell("siprec-started", Number=str(number))
    told = listed(indoors, limit=3)
    assert [dict(map(tuple, callback["fields"]))["Number"] for callback in told] == list("6543210")


def test_a_cursor_is_good_for_its_own_list_only(indoors: Indoors) -> None:
    indoors.started()
    for number in range(2):
        indoors.tell("siprec-started", Number=str(number))
    cursor = indoors.client.get("/v1/callbacks?limit=1").json["next_cursor"]
    assert indoors.client.get(f"/v1/callbacks?problem=true&cursor={cursor}").status_code == 422
    assert indoors.client.get(f"/v1/sessions?cursor={cursor}").status_code == 422
