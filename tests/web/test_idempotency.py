"""One Idempotency-Key, one session: an app may ask again without a call being recorded twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from service.domain.access import ALL_ACCOUNTS
from service.ledger.spool_entry import UnsavedAnswer
from service.sandbox import Answer
from service.store import sessions
from service.store.errors import Outage
from tests.house import wait_until
from tests.web.indoors import Indoors, JsonResponse, at_once


def is_replayed(answer: JsonResponse) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


def test_the_same_again_is_the_same_session_as_it_stands_now(indoors: Indoors) -> None:
    first = indoors.start(key="k", labels={"a": "1", "b": "2"})
    assert (first.status_code, "Idempotency-Replayed" in first.headers) == (201, False)
    indoors.tell("siprec-started")
    again = indoors.start(key="k", labels={"b": "2", "a": "1"})
    assert (again.status_code, is_replayed(again)) == (201, True)
    assert again.headers["Location"] == first.headers["Location"]
    shown = indoors.session(first.json["id"])
    assert again.json == {name: shown[name] for name in again.json}
    assert again.json["state"] == "started"
    assert len(indoors.sandbox.requests) == 1


def test_the_body_is_compared_as_parsed(indoors: Indoors) -> None:
    headers = {"Idempotency-Key": "k"}
    bodies = [
        b'{"call_sid": "v3:call-1", "secure": true}',
        b' {"secure":true,"call_sid":"v3:\\u0063all-1","name":null,"labels":{}}',
        b'{"call_sid": "v3:call-1", "secure": true, "status_callback_method": "POST"}',
    ]
    answers = [
        indoors.client.post("/v1/sessions", data=body, content_type="application/json", headers=headers)
        for body in bodies
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert len({answer.json["id"] for answer in answers}) == 1


OTHERS: list[dict[str, Any]] = [
    {"call_sid": "v3:call-2"},
    {"secure": False},
    {"account_sid": "account-2"},
    {"reference": "x"},
    {"labels": {"a": "1"}},
    {"status_callback_method": "GET"},
]


def test_another_body_is_422(indoors: Indoors) -> None:
    session_id = indoors.start(key="k").json["id"]
    for other in OTHERS:
        answer = indoors.start(key="k", **other)
        assert (answer.status_code, answer.mimetype) == (422, "application/problem+json"), other
        assert answer.json["type"] == "urn:siprec-ledger:problem:key-reused"
        assert answer.json["session_id"] == session_id
        assert answer.json["errors"][0]["pointer"] == "/Idempotency-Key"
    assert len(indoors.sandbox.requests) == 1


def test_another_key_is_another_session(indoors: Indoors) -> None:
    ids = {indoors.start(key=key).json["id"] for key in ("k", "K", "k2")}
    ids |= {indoors.start().json["id"] for _ in range(2)}
    assert len(ids) == 5


def test_the_keys_of_two_apps_never_meet(indoors: Indoors) -> None:
    body, headers = {"call_sid": "v3:call-1"}, {"Idempotency-Key": "k"}
    clients = [indoors.client, indoors.bearing(indoors.new_key("app-2"))]
    answers = [client.post("/v1/sessions", json=body, headers=headers) for client in clients]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json["id"] != answers[1].json["id"]
    assert [answer.json["requested_by"] for answer in answers] == ["app-1", "app-2"]


def test_while_the_first_is_asking_the_second_is_told_so_at_once(indoors: Indoors) -> None:
    indoors.answers(Answer(delay_seconds=1.5))
    with at_once(lambda: indoors.start(key="k")) as first:
        wait_until(lambda: len(indoors.sandbox.requests) == 1)
        began = time.monotonic()
        second = indoors.start(key="k")
        took = time.monotonic() - began
        other = indoors.start(key="k", name="other")
    assert took < 1
    assert (second.status_code, second.json["type"]) == (409, "urn:siprec-ledger:problem:still-starting")
    assert int(second.headers["Retry-After"]) > 0
    assert second.json["session_id"] == first.result().json["id"]
    assert other.status_code == 422
    assert indoors.start(key="k").json["id"] == first.result().json["id"]
    assert len(indoors.sandbox.requests) == 1


def test_many_at_once_make_one_session_and_one_request(indoors: Indoors) -> None:
    clients = [indoors.bearing(indoors.key) for _ in range(8)]
    indoors.answers(Answer(delay_seconds=0.3))

    def start(client: Any) -> JsonResponse:
        headers = {"Idempotency-Key": "k"}
        answer: JsonResponse = client.post("/v1/sessions", json={"call_sid": "c"}, headers=headers)
        return answer

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(start, clients))
    # Those that came too late for a slot are told to come again, as those are that came too early.
    assert {answer.status_code for answer in answers} <= {201, 409, 503}
    assert [answer.status_code for answer in answers].count(201) == 1
    assert len(indoors.sandbox.requests) == 1
    assert len(indoors.client.get("/v1/sessions").json["sessions"]) == 1


def test_what_never_reached_telnyx_may_be_tried_again_on_the_same_session(indoors: Indoors) -> None:
    indoors.sandbox.stop()
    first = indoors.start(key="k")
    assert first.status_code == 503
    indoors.sandbox.start()
    again = indoors.start(key="k")
    assert (again.status_code, again.json["state"], again.json["attempts"]) == (201, "accepted", 2)
    assert again.json["id"] == first.json["session_id"]
    assert not is_replayed(again)
    third = indoors.start(key="k")
    assert (third.status_code, third.json["attempts"], is_replayed(third)) == (201, 2, True)
    assert len(indoors.sandbox.requests) == 1
    states = [event["state"] for event in indoors.session(again.json["id"])["timeline"]]
    assert states == [
        "requested",
        "refused",
        "refused",
        "accepted",
    ]  # while it asks again, the last answer stands


def test_each_attempt_is_told_of_and_each_answer_once(indoors: Indoors) -> None:
    """Also an answer like the one before; but not the very same one, brought again after a crash."""
    indoors.answers(Answer.error(429, retry_after_seconds=0))
    session_id = indoors.start(key="k").json["session_id"]
    indoors.start(key="k")
    with indoors.context.database.read() as db:
        found = sessions.find(db, session_id, ALL_ACCOUNTS)
    assert found
    assert found.answer
    unsaved = UnsavedAnswer(session_id, 2, "v3:call-1", found.answer)
    for _ in range(2):
        indoors.context.services.sessions.save_answer(unsaved)
    shown = indoors.session(session_id)
    assert [event["changes"].get("attempts") for event in shown["timeline"]] == [None, None, [1, 2], None]
    assert shown["timeline"][-1]["changes"] == {"state": ["refused", "refused"]}


def test_what_telnyx_put_off_may_be_tried_again_on_the_same_session(indoors: Indoors) -> None:
    indoors.answers(Answer.error(429, retry_after_seconds=0))
    first = indoors.start(key="k")
    assert first.status_code == 503
    indoors.answers()
    again = indoors.start(key="k")
    assert (again.status_code, again.json["attempts"]) == (201, 2)
    assert again.json["id"] == first.json["session_id"]


def test_a_second_attempt_whose_answer_cannot_be_saved_is_not_told_as_the_first(indoors: Indoors) -> None:
    """A 503 would invite the app to ask again, although Telnyx may have started it."""
    indoors.sandbox.stop()
    session_id = indoors.start(key="k").json["session_id"]
    indoors.sandbox.start()
    indoors.answers(Answer(delay_seconds=0.5))
    indoors.stop_draining()
    with at_once(lambda: indoors.start(key="k")) as second:
        wait_until(lambda: len(indoors.sandbox.requests) == 1)
        indoors.context.database.breaker.failed(Outage.WRITES, "a test")
    answer = second.result()
    assert (answer.status_code, answer.json["id"]) == (202, session_id)


def test_a_second_attempt_may_fail_in_another_way(indoors: Indoors) -> None:
    indoors.sandbox.stop()
    session_id = indoors.start(key="k").json["session_id"]
    indoors.sandbox.start()
    indoors.answers(Answer.error(404))
    again = indoors.start(key="k")
    assert (again.status_code, again.json["session_id"]) == (422, session_id)
    shown = indoors.session(session_id)
    assert (shown["state"], shown["error"]["kind"], shown["attempts"]) == ("refused", "rejected", 2)


@pytest.mark.parametrize(
    ("does", "status"),
    [(Answer.error(422, detail="no"), 422), (Answer.error(401), 502), (Answer("reset"), 202)],
    ids=["refused", "credentials", "unanswered"],
)
def test_what_telnyx_was_asked_is_replayed_and_not_asked_again(
    indoors: Indoors, does: Answer, status: int
) -> None:
    indoors.answers(does)
    first = indoors.start(key="k")
    indoors.answers()
    again = indoors.start(key="k")
    assert (first.status_code, again.status_code) == (status, status)
    assert (is_replayed(first), is_replayed(again)) == (False, True)
    unlike = {"request_id"}
    assert {k: v for k, v in first.json.items() if k not in unlike} == {
        k: v for k, v in again.json.items() if k not in unlike
    }
    assert len(indoors.sandbox.requests) == 1


def test_a_key_is_not_stuck_once_the_deadline_is_over(furnish: Callable[..., Indoors]) -> None:
    """As when the first one's process died: here it only takes longer than it may."""
    indoors = furnish()
    indoors.context.sessions._start_deadline = timedelta(seconds=0.2)  # no setting may be so short
    indoors.answers(Answer(delay_seconds=1))
    with at_once(lambda: indoors.start(key="k")) as first:
        wait_until(lambda: len(indoors.sandbox.requests) == 1)
        wait_until(lambda: indoors.start(key="k").status_code != 409)
        again = indoors.start(key="k")
        assert (again.status_code, again.json["state"]) == (202, "unanswered")
        assert is_replayed(again)
    assert first.result().json["state"] == "accepted"  # the late answer is not thrown away
    assert len(indoors.sandbox.requests) == 1


def test_a_request_that_is_wrong_does_not_take_the_key(indoors: Indoors) -> None:
    assert indoors.start(key="k", track="left").status_code == 422
    assert indoors.start(key="k").status_code == 201
