"""The callbacks that the sandbox sends, when all is well and when it is not."""

import threading
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from telnyx.lib.webhook_verification import verify_webhook_signature

from service.sandbox import Answer, Behaviour, NoStatusCallback, Sandbox, Session, UnknownSession
from tests.sandbox.conftest import CALL, App
from tests.sandbox.receiver import Received, Receiver


def test_a_session_tells_that_it_started_and_stopped(app: App, sandbox: Sandbox) -> None:
    sid = app.started()
    app.stop(sid)
    assert sandbox.wait_until_idle(5)
    started, stopped = app.receiver.received
    assert [*started.fields] == ["AccountSid", "CallSid", "SiprecSid", "SiprecEvent", "Timestamp"]
    assert (started.fields["AccountSid"], started.fields["CallSid"]) == ("AC1", CALL)
    assert started.fields["SiprecSid"] == stopped.fields["SiprecSid"] == sid
    assert (started.event, stopped.event) == ("siprec-started", "siprec-stopped")
    assert datetime.strptime(started.fields["Timestamp"], "%Y-%m-%dT%H:%M:%S.%f%z").tzinfo == UTC
    assert [each.is_delivered for each in sandbox.deliveries] == [True, True]


def test_a_get_carries_the_fields_in_its_query_and_signs_nothing(app: App, sandbox: Sandbox) -> None:
    app.start(StatusCallback=f"{app.receiver.url}?a=1", StatusCallbackMethod="GET")
    (callback,) = app.receiver.wait_for(1)
    assert (callback.method, callback.path, callback.body) == ("GET", "/callback", b"")
    assert (callback.fields["a"], callback.event) == ("1", "siprec-started")
    verify_webhook_signature(b"", callback.headers, sandbox.public_key)


def test_a_failure_says_why(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(fails="no-answer"))
    sid = app.started()
    app.stop(sid)
    assert sandbox.wait_until_idle(5)
    (callback,) = app.receiver.received
    assert (callback.event, callback.fields["SiprecError"]) == ("siprec-failed", "no-answer")
    assert sandbox.sessions[0].status == "failed"


def test_a_callback_can_arrive_before_the_answer(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(started_before_answer=True))
    hold = threading.Event()
    app.receiver.answer = lambda callback: 200 if hold.wait(5) else None
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(app.start().status_code))
    asking.start()
    app.receiver.wait_for(1)
    assert answers == []
    hold.set()
    asking.join(5)
    assert answers == [200]


def test_a_callback_comes_after_the_answer_unless_configured_otherwise(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(answer=Answer(delay_seconds=0.1)))
    app.start()
    asked = sandbox.requests[0].at
    assert sandbox.wait_until_idle(5)
    assert sandbox.deliveries[0].at - asked >= timedelta(seconds=0.1)


def test_a_session_can_start_late_and_stop_by_itself(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(started_after_seconds=0.1, duration_seconds=0.1))
    app.start()
    before = sandbox.sessions[0]
    assert sandbox.wait_until_idle(5)
    started, stopped = sandbox.deliveries
    assert started.at - sandbox.requests[0].at >= timedelta(seconds=0.1)
    assert stopped.at - started.at >= timedelta(seconds=0.09)
    assert (before.status, sandbox.sessions[0].status) == ("accepted", "stopped")


def test_a_session_that_is_stopped_early_does_not_stop_again(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(duration_seconds=60))
    app.start()
    app.receiver.wait_for(1)
    sandbox.end_call(CALL)
    assert sandbox.wait_until_idle(5)
    assert app.receiver.events == ["siprec-started", "siprec-stopped"]


@pytest.mark.parametrize(
    ("order", "events"),
    [
        ("kept", ["siprec-started", "siprec-started", "siprec-stopped"]),
        ("free", ["siprec-started", "siprec-stopped", "siprec-started"]),
    ],
)
def test_a_stop_waits_for_the_retries_of_the_start_where_order_is_kept(
    app: App, sandbox: Sandbox, order: str, events: list[str]
) -> None:
    sandbox.behave(Behaviour.from_json({"order": order, "backoff_seconds": 0.3}))
    app.receiver.answer_in_turn(503)
    sid = app.start().json()["sid"]
    app.receiver.wait_for(1)
    app.stop(sid)
    assert sandbox.wait_until_idle(5)
    assert app.receiver.events == events


def test_a_start_can_be_sent_after_the_stop(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(order="reversed"))
    app.stop(app.started())
    assert sandbox.wait_until_idle(5)
    assert app.receiver.events == ["siprec-stopped", "siprec-started"]
    stopped, started = app.receiver.received
    assert started.fields["Timestamp"] < stopped.fields["Timestamp"]


def test_events_can_be_lost(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(drop=frozenset(["siprec-started"])))
    app.stop(app.started())
    assert sandbox.wait_until_idle(5)
    assert app.receiver.events == ["siprec-stopped"]


def test_a_callback_can_be_repeated(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(repeat=3))
    app.started()
    assert app.receiver.events == ["siprec-started"] * 3
    assert len({callback.body for callback in app.receiver.received}) == 1


def test_repeats_can_come_all_at_once(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(repeat=5, repeat_at_once=True))
    all_here = threading.Barrier(5)
    app.receiver.answer = lambda callback: 200 if all_here.wait(2) >= 0 else None
    app.started()
    assert [each.status for each in sandbox.deliveries] == [200] * 5


@pytest.mark.parametrize("status", [503, 500, 429, 408, None])
def test_a_callback_that_may_yet_get_through_is_tried_again(
    app: App, sandbox: Sandbox, status: int | None
) -> None:
    sandbox.behave(Behaviour(backoff_seconds=0.01))
    app.receiver.answer_in_turn(status, status)
    app.started()
    assert [(each.attempt, each.status) for each in sandbox.deliveries] == [
        (1, status),
        (2, status),
        (3, 200),
    ]


@pytest.mark.parametrize("status", [201, 204, 301, 307, 400, 403, 404, 413])
def test_a_callback_is_not_tried_again_after_other_answers(app: App, sandbox: Sandbox, status: int) -> None:
    app.receiver.answer_in_turn(status)
    app.started()
    (delivery,) = sandbox.deliveries
    assert (delivery.status, delivery.is_delivered) == (status, False)
    assert len(app.receiver.received) == 1  # nor is a redirect followed


def test_attempts_end(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(attempts=2, backoff_seconds=0.01))
    app.receiver.answer = lambda callback: 500
    app.started()
    assert [each.status for each in sandbox.deliveries] == [500, 500]


def test_every_attempt_is_signed_anew(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(backoff_seconds=1.0))
    app.receiver.answer_in_turn(503)
    app.started()
    first, second = app.receiver.received
    assert first.body == second.body
    assert first.headers["telnyx-timestamp"] != second.headers["telnyx-timestamp"]
    for callback in (first, second):
        verify_webhook_signature(callback.body, callback.headers, sandbox.public_key)


def test_the_clock_of_the_sender_can_be_off(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(clock_skew_seconds=-3600))
    app.started()
    sent = int(app.receiver.received[0].headers["telnyx-timestamp"])
    assert abs(datetime.now(UTC).timestamp() - 3600 - sent) < 10


def test_headers_are_missing_from_what_is_unsigned(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(unsigned=True))
    app.started()
    assert not [name for name in app.receiver.received[0].headers if name.startswith("telnyx")]


@pytest.mark.parametrize("form", ["iso8601-without-zone", "rfc2822"])
def test_timestamps_have_other_forms(sandbox: Sandbox, form: str) -> None:
    at = datetime(2023, 8, 11, 19, 12, 11, 123456, tzinfo=UTC)
    body = sandbox.compose(
        Session("AC1", CALL, "S1"), "siprec-started", at, Behaviour.from_json({"timestamp_format": form})
    )
    said = {
        "iso8601-without-zone": b"Timestamp=2023-08-11T19%3A12%3A11.123456",
        "rfc2822": b"Timestamp=Fri%2C+11+Aug+2023+19%3A12%3A11+%2B0000",
    }
    assert body.endswith(said[form])
    assert parsedate_to_datetime("Fri, 11 Aug 2023 19:12:11 +0000") == at.replace(microsecond=0)


def test_fields_can_be_added_replaced_and_left_out(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(fields={"AccountSid": "other", "Timestamp": None, "SiprecName": "ü\0"}))
    app.started()
    fields = app.receiver.received[0].fields
    assert fields["AccountSid"] == "other"
    assert "Timestamp" not in fields
    assert b"SiprecName=%C3%BC%00" in app.receiver.received[0].body


def test_one_callback_can_be_sent_now(app: App, sandbox: Sandbox) -> None:
    sid = app.started()
    delivery = sandbox.send(sid, "siprec-paused", CallSid="other", Bad="\udcff")
    callback = app.receiver.received[-1]
    assert (delivery.status, delivery.event, callback.event) == (200, "siprec-paused", "siprec-paused")
    assert callback.fields["CallSid"] == "other"
    assert callback.body.endswith(b"&Bad=%FF")
    assert sandbox.sessions[0].status == "running"


def test_what_is_composed_and_signed_by_hand_is_what_would_be_sent(sandbox: Sandbox) -> None:
    session = Session("AC1", CALL, "S1")
    at = datetime(2023, 8, 11, 19, 12, 11, tzinfo=UTC)
    body = sandbox.compose(session, "siprec-failed", at)
    assert body == (
        b"AccountSid=AC1&CallSid=v3%3A9X2vqj&SiprecSid=S1&SiprecEvent=siprec-failed"
        b"&Timestamp=2023-08-11T19%3A12%3A11.000000Z&SiprecError=no-answer"
    )
    verify_webhook_signature(body, sandbox.sign(body), sandbox.public_key)
    assert sandbox.sign(body, at)["telnyx-timestamp"] == "1691781131"


def test_nothing_can_be_sent_about_nobody_or_to_nobody(sandbox: Sandbox) -> None:
    with pytest.raises(UnknownSession):
        sandbox.send("none", "siprec-started")
    with pytest.raises(NoStatusCallback):
        sandbox.send(Session("AC1", CALL), "siprec-started")


def test_a_document_can_start_a_session_too(sandbox: Sandbox, receiver: Receiver) -> None:
    session = sandbox.begin("AC1", CALL, receiver.url)
    (callback,) = receiver.wait_for(1)
    assert callback.fields["SiprecSid"] == session.sid
    assert sandbox.requests == []


def test_settling_takes_no_longer_than_it_may(app: App, sandbox: Sandbox) -> None:
    hold = threading.Event()

    def answer(callback: Received) -> int:
        hold.wait(5)
        return 200

    app.receiver.answer = answer
    app.start()
    assert not sandbox.wait_until_idle(0.05)
    hold.set()
    assert sandbox.wait_until_idle(5)
