"""What Telnyx does decides what an app is answered, and the ledger says the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from service.sandbox import EVENTS, Answer, Behaviour
from tests.house import wait_until
from tests.web.indoors import PUBLIC_URL, Indoors, at_once


@dataclass(frozen=True)
class Outcome:
    """What an app gets for what Telnyx does; `asked` is how often Telnyx was."""

    status: int
    state: str
    kind: str | None = None
    problem: str | None = None
    telnyx: int | None = None
    asked: int = 1
    retries: bool = False


SILENT = Outcome(202, "unanswered", "no_answer")
REJECTED = Outcome(422, "refused", "rejected", "telnyx-refused")
OURS = Outcome(502, "refused", "credentials", "telnyx-credentials")

OUTCOMES: dict[str, tuple[Answer, Outcome]] = {
    "accepts": (Answer(), Outcome(201, "accepted")),
    "says nothing": (Answer("timeout"), SILENT),
    "resets": (Answer("reset"), SILENT),
    "hangs up": (Answer("close"), SILENT),
    "answers in HTML": (Answer("unreadable"), replace(SILENT, telnyx=200)),
    "names no sid": (Answer(fields={"sid": None}), replace(SILENT, telnyx=200)),
    "names an empty sid": (Answer(fields={"sid": ""}), replace(SILENT, telnyx=200)),
    "names an unprintable sid": (Answer(fields={"sid": "a\nb"}), replace(SILENT, telnyx=200)),
    "names an endless sid": (Answer(fields={"sid": "x" * 256}), replace(SILENT, telnyx=200)),
    "redirects": (Answer.error(307), replace(SILENT, telnyx=307)),
    "gave up waiting": (Answer.error(408), replace(SILENT, telnyx=408)),
    "stumbles": (Answer.error(500), replace(SILENT, telnyx=500)),
    "is overloaded": (Answer.error(503), replace(SILENT, telnyx=503)),
    "cannot read it": (Answer.error(400, code="10015"), replace(REJECTED, telnyx=400)),
    "knows no such call": (Answer.error(404), replace(REJECTED, telnyx=404)),
    "finds it in conflict": (Answer.error(409), replace(REJECTED, telnyx=409)),
    "finds it wrong": (
        Answer.error(422, code="90018", detail="Call has ended"),
        replace(REJECTED, telnyx=422),
    ),
    "knows no such key": (Answer.error(401), replace(OURS, telnyx=401)),
    "forbids it": (Answer.error(403), replace(OURS, telnyx=403)),
    "is asked too often": (
        Answer.error(429, retry_after_seconds=0),
        Outcome(503, "refused", "rate_limited", "telnyx-rate-limit", 429, asked=3, retries=True),
    ),
    "is asked too often once": (
        Answer.error(429, retry_after_seconds=0, times=1),
        Outcome(201, "accepted", asked=2),
    ),
}


def test_what_telnyx_does_decides_the_answer(
    furnish: Callable[..., Indoors], subtests: pytest.Subtests
) -> None:
    patient, impatient = furnish(), furnish(TELNYX_TIMEOUT_SECONDS=0.3)
    for case, (does, outcome) in OUTCOMES.items():
        with subtests.test(case):
            indoors = impatient if does.kind == "timeout" else patient
            indoors.sandbox.forget()
            indoors.answers(does)
            answer = indoors.start()
            check(indoors, answer, outcome)
            assert len(indoors.sandbox.requests) == outcome.asked
            if outcome.kind:
                assert indoors.session(session_id_of(answer))["error"]["status"] == outcome.telnyx


def session_id_of(answer: Any) -> str:
    return str(answer.json["session_id"] if "session_id" in answer.json else answer.json["id"])


def check(indoors: Indoors, answer: Any, outcome: Outcome) -> None:
    """That the answer and a look at the session say `outcome`."""
    assert answer.status_code == outcome.status, answer.text
    assert ("Retry-After" in answer.headers) == outcome.retries
    session_id = session_id_of(answer)
    shown = indoors.session(session_id)
    assert answer.headers["Location"] == f"/v1/sessions/{session_id}"
    assert shown["state"] == outcome.state
    assert (shown["error"] and shown["error"]["kind"]) == outcome.kind
    if outcome.problem is None:
        assert answer.json == {name: shown[name] for name in answer.json}
        return
    assert answer.mimetype == "application/problem+json"
    assert answer.json["type"] == f"urn:siprec-ledger:problem:{outcome.problem}"
    told = answer.json["telnyx"]
    assert told == {name: shown["error"][name] for name in told}
    assert told.get("status") == outcome.telnyx


def test_a_telnyx_that_is_not_there_was_never_asked(indoors: Indoors) -> None:
    indoors.sandbox.stop()
    outcome = Outcome(503, "refused", "unreachable", "telnyx-unreachable", retries=True)
    check(indoors, indoors.start(), outcome)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("named", "told"), [(0, "1"), (1, "1"), (7, "7"), (3600, "3600"), (86_400, "3600")])
def test_the_wait_that_telnyx_names_is_passed_on(indoors: Indoors, named: int, told: str) -> None:
    session_id = indoors.started("v3:call-2")
    busy = Answer.error(429, retry_after_seconds=named)
    indoors.answers(busy, stop=busy)
    before = len(indoors.sandbox.requests)
    began = time.monotonic()
    started = indoors.start()
    asked = len(indoors.sandbox.requests) - before
    stopped = indoors.client.post(f"/v1/sessions/{session_id}/stop")
    for answer in started, stopped:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, told)
        assert answer.json["title"] == "Telnyx rate limit reached"
    assert asked == (3 if named <= 1 else 1)
    assert named <= 1 or time.monotonic() - began < 1


def test_a_refusal_is_told_in_telnyx_own_words(indoors: Indoors) -> None:
    indoors.answers(Answer.error(422, code="90034", detail="Call is not answered ☎"))
    told = indoors.start().json
    assert told["telnyx"] == {"status": 422, "code": "90034", "detail": "Call is not answered ☎"}
    assert told["detail"] == "Call is not answered ☎"


def test_words_that_no_database_holds_are_made_harmless(indoors: Indoors) -> None:
    indoors.answers(Answer.error(422, code="\0", detail="a\0b\ud800" + "x" * 5000))
    told = indoors.start().json["telnyx"]
    assert told["detail"].startswith("a\N{REPLACEMENT CHARACTER}b?x")
    assert len(told["detail"]) == 1000


def test_our_key_is_told_to_nobody(furnish: Callable[..., Indoors]) -> None:
    indoors = furnish(TELNYX_API_KEY="KEY-that-is-wrong")
    answer = indoors.start()
    assert (answer.status_code, answer.json["telnyx"]["code"]) == (502, "10009")
    assert "KEY-that" not in answer.text


def test_a_callback_that_is_faster_than_the_answer_is_in_it(indoors: Indoors) -> None:
    indoors.answers(Answer(delay_seconds=0.5))
    with at_once(indoors.start) as start:
        wait_until(lambda: len(indoors.sandbox.sessions) == 1)
        assert indoors.tell("siprec-started").status_code == 200
    answer = start.result()
    assert (answer.status_code, answer.json["state"]) == (201, "started")


def test_a_callback_that_is_faster_than_no_answer_is_in_it(furnish: Callable[..., Indoors]) -> None:
    indoors = furnish(TELNYX_TIMEOUT_SECONDS=1)
    indoors.sandbox.behave(Behaviour(answer=Answer("timeout"), starts=True, drop=frozenset(EVENTS)))
    with at_once(indoors.start) as start:
        wait_until(lambda: len(indoors.sandbox.sessions) == 1)
        assert indoors.tell("siprec-failed", SiprecError="no-answer").status_code == 200
    answer = start.result()
    assert (answer.status_code, answer.json["state"]) == (202, "failed")
    assert answer.json["error"]["detail"] == "no-answer"


def test_a_callback_outranks_a_refusal(indoors: Indoors) -> None:
    indoors.sandbox.behave(Behaviour(answer=Answer.error(404), starts=True, drop=frozenset(EVENTS)))
    session_id = indoors.start().json["session_id"]
    assert indoors.tell("siprec-started").status_code == 200
    shown = indoors.session(session_id)
    assert (shown["state"], shown["error"], shown["answer"]["outcome"]) == ("started", None, "refused")


ALL_FIELDS = {
    "connector_name": "the recorder",
    "name": "Ünïcode & more=1",
    "track": "inbound_track",
    "include_metadata_custom_headers": True,
    "secure": False,
    "session_timeout_secs": 0,
    "sip_transport": "tls",
    "status_callback_method": "GET",
}
ALL_OF_TELNYX = {
    "ConnectorName": "the recorder",
    "Name": "Ünïcode & more=1",
    "Track": "inbound_track",
    "IncludeMetadataCustomHeaders": "true",
    "Secure": "false",
    "SessionTimeoutSecs": "0",
    "SipTransport": "tls",
    "StatusCallbackMethod": "GET",
}


def test_all_nine_fields_reach_telnyx_as_they_were_asked(indoors: Indoors) -> None:
    session_id = indoors.started("v3:9X2v", account_sid="account-2", **ALL_FIELDS)
    (asked,) = indoors.sandbox.requests
    assert (asked.method, asked.path) == ("POST", "/v2/texml/Accounts/account-2/Calls/v3:9X2v/Siprec.json")
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    fields = dict(asked.fields)
    assert fields.pop("StatusCallback").startswith(f"{PUBLIC_URL}/callbacks/siprec/{session_id}.")
    assert fields == ALL_OF_TELNYX
    shown = indoors.session(session_id)
    assert {name: shown[name] for name in ALL_FIELDS} == ALL_FIELDS


def test_what_is_not_asked_is_left_to_telnyx(indoors: Indoors) -> None:
    session_id = indoors.started()
    (asked,) = indoors.sandbox.requests
    assert set(asked.fields) == {"StatusCallback", "StatusCallbackMethod"}
    assert asked.fields["StatusCallbackMethod"] == "POST"
    shown = indoors.session(session_id)
    assert {shown[name] for name in ALL_FIELDS if name != "status_callback_method"} == {None}
    assert shown["account_sid"] == "account-1"
    assert shown["requested_by"] == "app-1"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("seconds", [0, 90, 14440])
def test_a_timeout_is_0_or_at_least_90(indoors: Indoors, seconds: int) -> None:
    indoors.started(session_timeout_secs=seconds)
    assert indoors.sandbox.requests[0].fields["SessionTimeoutSecs"] == str(seconds)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_the_callback_url_fits_telnyx_limit_however_long_ours_is(furnish: Callable[..., Indoors]) -> None:
    indoors = furnish(PUBLIC_URL=f"https://ledger.example/{'x' * 1470}/")
    indoors.started()
    url = indoors.sandbox.requests[0].fields["StatusCallback"]
    assert len(url) <= 2000
    assert "//callbacks" not in url


def test_starts_beyond_a_quarter_of_the_threads_are_turned_away(furnish: Callable[..., Indoors]) -> None:
    indoors = furnish(THREADS=4)
    indoors.answers(Answer(delay_seconds=0.5))
    with at_once(lambda: indoors.start("slow")) as slow:
        wait_until(lambda: len(indoors.sandbox.requests) == 1)
        answer = indoors.start("v3:call-2")
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json["type"] == "urn:siprec-ledger:problem:too-many-in-flight"
        assert "session_id" not in answer.json
    assert slow.result().status_code == 201
    assert [one["call_sid"] for one in indoors.client.get("/v1/sessions").json["sessions"]] == ["slow"]
    assert indoors.start("v3:call-2").status_code == 201
