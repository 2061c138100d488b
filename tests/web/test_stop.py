"""A stop is Telnyx's to grant, and its callback's to tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from service.sandbox import EVENTS, Answer, Behaviour
from tests.web.indoors import Indoors

# What Telnyx did although its answer was lost.
UNHEARD = Behaviour(answer=Answer("reset"), starts=True, drop=frozenset(EVENTS))

STOPS: dict[str, tuple[Answer, int, str | None, bool]] = {
    "grants it": (Answer(), 202, None, False),
    "answers in HTML": (Answer("unreadable"), 503, "telnyx-no-answer", True),
    "says nothing": (Answer("timeout"), 503, "telnyx-no-answer", True),
    "resets": (Answer("reset"), 503, "telnyx-no-answer", True),
    "hangs up": (Answer("close"), 503, "telnyx-no-answer", True),
    "stumbles": (Answer.error(500), 503, "telnyx-no-answer", True),
    "gave up waiting": (Answer.error(408), 503, "telnyx-no-answer", True),
    "is asked too often": (Answer.error(429, retry_after_seconds=0), 503, "telnyx-rate-limit", True),
    "knows no such session": (Answer.error(404), 422, "telnyx-refused", False),
    "finds it wrong": (Answer.error(422, code="90018", detail="ended"), 422, "telnyx-refused", False),
    "knows no such key": (Answer.error(401), 502, "telnyx-credentials", False),
    "forbids it": (Answer.error(403), 502, "telnyx-credentials", False),
}


def test_what_telnyx_does_decides_the_answer(
    furnish: Callable[..., Indoors], subtests: pytest.Subtests
) -> None:
    patient, impatient = furnish(), furnish(TELNYX_TIMEOUT_SECONDS=0.3)
    for case, (does, status, problem, retries) in STOPS.items():
        with subtests.test(case):
            indoors = impatient if does.kind == "timeout" else patient
            indoors.answers()
            session_id = patient.started(case)
            indoors.answers(stop=does)
            answer = indoors.client.post(f"/v1/sessions/{session_id}/stop")
            assert (answer.status_code, "Retry-After" in answer.headers) == (status, retries)
            shown = indoors.session(session_id)
            assert shown["state"] == "accepted"
            assert shown["stop_requested_at"] is not None
            if problem:
                assert answer.mimetype == "application/problem+json"
                assert answer.json["type"] == f"urn:siprec-ledger:problem:{problem}"
                assert answer.json["session_id"] == session_id
                said = 200 if does.kind == "unreadable" else does.status
                assert answer.json["telnyx"].get("status") == said
            else:
                assert answer.json == {name: shown[name] for name in answer.json}


def test_a_stop_without_an_answer_may_be_repeated(indoors: Indoors) -> None:
    session_id = indoors.started()
    indoors.answers(stop=Answer("reset"))
    assert indoors.client.post(f"/v1/sessions/{session_id}/stop").status_code == 503
    wished = indoors.session(session_id)["stop_requested_at"]
    indoors.answers()
    assert indoors.client.post(f"/v1/sessions/{session_id}/stop").status_code == 202
    assert indoors.session(session_id)["stop_requested_at"] == wished
    assert len(indoors.sandbox.requests) == 3


def test_it_asks_telnyx_in_telnyx_words(indoors: Indoors) -> None:
    session_id = indoors.started("a/b", account_sid="account-2")
    indoors.client.post(f"/v1/sessions/{session_id}/stop")
    asked = indoors.sandbox.requests[-1]
    sid = indoors.session(session_id)["siprec_sid"]
    assert asked.path == f"/v2/texml/Accounts/account-2/Calls/a%2Fb/Siprec/{sid}.json"
    assert asked.fields == {"Status": "stopped"}


def test_a_telnyx_that_is_not_there_is_503(indoors: Indoors) -> None:
    session_id = indoors.started()
    indoors.sandbox.stop()
    answer = indoors.client.post(f"/v1/sessions/{session_id}/stop")
    assert (answer.status_code, answer.json["type"]) == (503, "urn:siprec-ledger:problem:telnyx-unreachable")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(("event", "state"), [("siprec-stopped", "stopped"), ("siprec-failed", "failed")])
def test_what_is_over_cannot_be_stopped(indoors: Indoors, event: str, state: str) -> None:
    session_id = indoors.started()
    indoors.tell(event)
    answer = indoors.client.post(f"/v1/sessions/{session_id}/stop")
    assert (answer.status_code, answer.json["type"]) == (409, "urn:siprec-ledger:problem:session-over")
    assert answer.json["title"] == "Session already over"
    assert answer.json["detail"] == f"It cannot be stopped: it is over: {state}"
    assert answer.json["session_id"] == session_id
    assert len(indoors.sandbox.requests) == 1
    assert indoors.session(session_id)["stop_requested_at"] is None


def test_what_was_refused_is_over(indoors: Indoors) -> None:
    indoors.answers(Answer.error(404))
    session_id = indoors.start().json["session_id"]
    answer = indoors.client.post(f"/v1/sessions/{session_id}/stop")
    assert (answer.status_code, answer.json["detail"]) == (409, "It cannot be stopped: it is over: refused")


def test_what_has_no_sid_yet_cannot_be_stopped(indoors: Indoors) -> None:
    indoors.answers(Answer("reset"))
    session_id = indoors.start().json["id"]
    answer = indoors.client.post(f"/v1/sessions/{session_id}/stop")
    assert answer.status_code == 409
    assert answer.json["title"] == "Session not accepted by Telnyx yet"
    assert answer.json["detail"] == "It cannot be stopped: Telnyx has not given it a sid yet: unanswered"
    assert len(indoors.sandbox.requests) == 1


def test_a_sid_that_only_a_callback_told_is_good_enough(indoors: Indoors) -> None:
    indoors.sandbox.behave(UNHEARD)
    session_id = indoors.start().json["id"]
    indoors.tell("siprec-started")
    assert indoors.client.post(f"/v1/sessions/{session_id}/stop").status_code == 202
    assert indoors.sandbox.requests[-1].path.endswith(f"/Siprec/{indoors.sid()}.json")


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_the_body_may_be_left_out_or_empty_but_nothing_else(indoors: Indoors) -> None:
    path = f"/v1/sessions/{indoors.started()}/stop"
    assert indoors.client.post(path, json={}).status_code == 202
    assert indoors.client.post(path, content_type="application/json").status_code == 202
    assert indoors.client.post(path, data=b"x", content_type="application/json").status_code == 400
    assert indoors.client.post(path, data=b"{}", content_type="text/plain").status_code == 415
    refused = indoors.client.post(path, json={"force": True})
    assert refused.status_code == 422
    assert refused.json["errors"][0]["pointer"] == "/force"
