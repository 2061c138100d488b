"""What the sandbox can answer instead of what is documented, and what happens all the same."""

import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
import requests

from service.sandbox import Answer, Behaviour, Sandbox
from tests.sandbox.conftest import CALL, App
from tests.sandbox.receiver import Receiver


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer("timeout"), "Read timed out"),
        (Answer("timeout", delay_seconds=0.01), "Remote end closed connection"),
        (Answer("close"), "Remote end closed connection"),
        (Answer("reset"), "Connection reset by peer"),
    ],
)
@pytest.mark.parametrize("starts", [None, True])
def test_there_may_be_no_answer_and_the_session_may_run(
    app: App, sandbox: Sandbox, answer: Answer, error: str, starts: bool | None
) -> None:
    sandbox.behave(Behaviour(answer=answer, starts=starts))
    app.timeout_seconds = 0.2
    with pytest.raises(requests.RequestException, match=error):
        app.start()
    assert sandbox.wait_until_idle(5)
    assert app.receiver.events == (["siprec-started"] if starts else [])


@pytest.mark.parametrize("status", [401, 403, 404, 422, 429, 500, 503])
@pytest.mark.parametrize("starts", [None, True])
def test_an_answer_may_be_an_error(app: App, sandbox: Sandbox, status: int, starts: bool | None) -> None:
    sandbox.behave(Behaviour(answer=Answer.error(status), starts=starts))
    answer = app.start()
    assert sandbox.wait_until_idle(5)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["detail"]
    assert app.receiver.events == (["siprec-started"] if starts else [])


def test_an_error_says_what_it_is_configured_to_say(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(answer=Answer.error(422, code="90034", detail="Call not answered")))
    (error,) = app.start().json()["errors"]
    assert (error["code"], error["detail"]) == ("90034", "Call not answered")


def test_too_many_requests_come_with_the_limits(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(answer=Answer.error(429)))
    headers = app.start().headers
    assert (headers["x-ratelimit-remaining"], headers["x-ratelimit-reset"]) == ("0", "1")
    assert "retry-after" not in headers
    sandbox.behave(Behaviour(answer=Answer.error(429, retry_after_seconds=7)))
    headers = app.start().headers
    assert (headers["retry-after"], headers["x-ratelimit-reset"]) == ("7", "7")


def test_an_answer_may_be_no_json(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(answer=Answer("unreadable")))
    answer = app.start()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html")


def test_an_answer_may_contradict_or_lack_members(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(answer=Answer(fields={"sid": "another", "uri": None})))
    said = app.start().json()
    (callback,) = app.receiver.wait_for(1)
    assert said["sid"] == "another"
    assert "uri" not in said
    assert callback.fields["SiprecSid"] == sandbox.sessions[0].sid


def test_a_bad_answer_ends_after_some_times_for_each_call(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(answer=Answer.error(429, times=2)))
    calls = ["one", "one", "two", "one", "two", "two"]
    assert [app.start(call).status_code for call in calls] == [429, 429, 429, 200, 429, 200]
    sandbox.behave(Behaviour(answer=Answer.error(500, times=1)), "one")
    assert [app.start(call).status_code for call in ("one", "two", "one")] == [500, 200, 200]


def test_an_answer_may_be_late(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(answer=Answer(delay_seconds=0.2)))
    began = time.monotonic()
    assert app.start().status_code == 200
    assert time.monotonic() - began >= 0.2


def test_an_answer_that_nobody_waited_for_starts_the_session_all_the_same(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(answer=Answer(delay_seconds=0.2)))
    app.timeout_seconds = 0.05
    with pytest.raises(requests.Timeout):
        app.start()
    app.receiver.wait_for(1)
    assert sandbox.wait_until_idle(5)
    assert app.receiver.events == ["siprec-started"]


def test_what_was_accepted_may_never_start(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(starts=False))
    sid = app.started()
    assert app.stop(sid).status_code == 200
    assert sandbox.wait_until_idle(5)
    assert app.receiver.events == []


@pytest.mark.parametrize(
    ("behaviour", "status", "events"),
    [
        (Behaviour(stop_answer=Answer.error(500)), 500, ["siprec-started"]),
        (Behaviour(stop_answer=Answer.error(404), stops=True), 404, ["siprec-started", "siprec-stopped"]),
        (Behaviour(stop_answer=Answer("unreadable")), 200, ["siprec-started"]),
        (Behaviour(stops=False), 200, ["siprec-started"]),
    ],
)
def test_a_stop_may_be_answered_as_badly(
    app: App, sandbox: Sandbox, behaviour: Behaviour, status: int, events: list[str]
) -> None:
    sid = app.started()
    sandbox.behave(behaviour, CALL)
    assert app.stop(sid).status_code == status
    assert sandbox.wait_until_idle(5)
    assert app.receiver.events == events


def test_questions_may_be_answered_as_badly(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(call_answer=Answer.error(503, times=1), connector_answer=Answer.error(403)))
    assert app.get(f"/texml/Accounts/AC1/Calls/{CALL}").status_code == 503
    assert app.get(f"/texml/Accounts/AC1/Calls/{CALL}").status_code == 200
    assert app.get("/siprec_connectors/srs").status_code == 403


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(answer=Answer("timeout")),
        Behaviour(answer=Answer(delay_seconds=60)),
        Behaviour(started_before_answer=True, started_after_seconds=60),
    ],
)
def test_stopping_the_sandbox_frees_whoever_waits_and_ends_its_threads(
    receiver: Receiver, behaviour: Behaviour
) -> None:
    before = set(threading.enumerate())
    is_asked = threading.Event()
    with Sandbox(watch=lambda happened: is_asked.set()) as sandbox, requests.Session() as http:
        sandbox.behave(behaviour)
        errors: list[str] = []

        def ask() -> None:
            try:
                App(sandbox, receiver, http).start()
            except requests.ConnectionError as error:
                errors.append(str(error))

        asking = threading.Thread(target=ask)
        asking.start()
        assert is_asked.wait(5)
        sandbox.stop()
        asking.join(4)
    assert len(errors) == 1
    for thread in set(threading.enumerate()) - before:
        thread.join(1)  # it may have said all it had to say, and still be about to end
        assert not thread.is_alive()


@pytest.mark.parametrize(
    "sent", [b"", b"POST /v2/", b"PUT /sandbox/behaviour HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"]
)
def test_a_client_that_says_half_of_it_or_nothing_holds_nobody_up(app: App, sent: bytes) -> None:
    address = urlsplit(app.sandbox.url)
    with socket.create_connection((address.hostname, address.port)) as silent:
        silent.sendall(sent)
        assert app.start().status_code == 200
        app.sandbox.stop()
        silent.settimeout(1)
        assert silent.recv(1) == b""


def test_the_sandbox_can_go_away_and_come_back_at_its_address(app: App, sandbox: Sandbox) -> None:
    sid, url = app.started(), sandbox.url
    sandbox.stop()
    with pytest.raises(requests.ConnectionError):
        app.stop(sid)
    sandbox.start()
    assert sandbox.url == url
    assert app.stop(sid).status_code == 200
    assert sandbox.wait_until_idle(5)
    assert app.receiver.events == ["siprec-started", "siprec-stopped"]
