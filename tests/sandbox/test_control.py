"""Other processes, and people with curl, tell the sandbox what to do."""

import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from service.sandbox import Behaviour, Invalid, Sandbox
from tests.sandbox.conftest import CALL, App


def ask(sandbox: Sandbox, method: str, path: str, document: Any = None) -> requests.Response:
    return requests.request(method, sandbox.control_url + path, json=document, timeout=5)


def test_a_behaviour_can_be_put_for_all_calls_and_for_one(app: App, sandbox: Sandbox) -> None:
    answer = ask(sandbox, "PUT", "/behaviour", {"answer": {"kind": "error", "status": 403}})
    assert answer.status_code == 200
    assert Behaviour.from_json(answer.json()).answer.status == 403
    assert ask(sandbox, "PUT", "/calls/a%2Fb/behaviour", {"answer": "accept"}).status_code == 200
    assert [app.start("a/b").status_code, app.start("c").status_code] == [200, 403]


def test_a_call_can_be_ended_and_a_callback_sent(app: App, sandbox: Sandbox) -> None:
    sid = app.started()
    document = {"event": "siprec-stopped", "fields": {"A": "b"}, "behaviour": {"unsigned": True}}
    delivery = ask(sandbox, "POST", f"/sessions/{sid}/callbacks", document).json()
    assert (delivery["status"], delivery["fields"]["A"]) == (200, "b")
    assert "telnyx-timestamp" not in delivery["headers"]
    ended = ask(sandbox, "POST", f"/calls/{CALL}/end").json()["ended"]
    assert [session["sid"] for session in ended] == [sid]


def test_a_session_can_be_begun_as_by_a_document(app: App, sandbox: Sandbox) -> None:
    document = {"account_sid": "AC1", "call_sid": CALL, "StatusCallback": app.receiver.url}
    begun = ask(sandbox, "POST", "/sessions", document)
    assert begun.status_code == 201
    assert app.receiver.wait_for(1)[0].fields["SiprecSid"] == begun.json()["sid"]


def test_what_happened_can_be_read_and_forgotten(app: App, sandbox: Sandbox) -> None:
    sid = app.started()
    (request,) = ask(sandbox, "GET", "/requests").json()["requests"]
    (delivery,) = ask(sandbox, "GET", "/deliveries").json()["deliveries"]
    (session,) = ask(sandbox, "GET", "/sessions").json()["sessions"]
    assert request["fields"]["ConnectorName"] == "srs"
    assert (delivery["status"], session["sid"], session["status"]) == (200, sid, "running")
    sandbox.behave(Behaviour(fails="busy"))
    assert ask(sandbox, "DELETE", "").status_code == 200
    assert (sandbox.requests, sandbox.deliveries, sandbox.sessions) == ([], [], [])
    app.started()
    assert app.receiver.events == ["siprec-started", "siprec-started"]


@pytest.mark.parametrize(
    ("method", "path", "document", "status", "words"),
    [
        ("PUT", "/behaviour", {"anwser": "accept"}, 422, "anwser: no such member"),
        ("PUT", "/behaviour", [], 400, "must be a JSON object"),
        ("PUT", "/behaviour", {"answer": "perhaps"}, 422, "answer.kind must be one of accept"),
        ("PUT", "/behaviour", {"repeat": 0}, 422, "repeat must be a number from 1 to 100"),
        ("POST", "/sessions/none/callbacks", {"event": "siprec-stopped"}, 404, "no session none"),
        ("POST", "/sessions/none/callbacks", {}, 422, "event must be text"),
        ("POST", "/sessions/none/callbacks", {"evnt": 1}, 422, "evnt: no such member"),
        ("POST", "/sessions", {"account_sid": "AC1"}, 422, "call_sid must be text"),
        (
            "POST",
            "/sessions",
            {"account_sid": "A", "call_sid": "C", "StatusCallback": "x"},
            422,
            "StatusCallback",
        ),
        ("GET", "/nonsense", None, 404, "PUT /sandbox/behaviour"),
        ("DELETE", "/requests", None, 404, "no such endpoint"),
    ],
)
def test_nonsense_is_answered_with_what_is_wrong(
    sandbox: Sandbox, method: str, path: str, document: Any, status: int, words: str
) -> None:
    answer = ask(sandbox, method, path, document)
    assert answer.status_code == status
    assert words in answer.json()["errors"][0]["detail"]


def test_fields_that_are_none_are_refused(app: App, sandbox: Sandbox) -> None:
    sid = app.started()
    for fields in ({"A": 1}, ["A"], "A"):
        answer = ask(sandbox, "POST", f"/sessions/{sid}/callbacks", {"event": "e", "fields": fields})
        assert answer.status_code == 422
        assert "fields must be" in answer.json()["errors"][0]["detail"]


def test_a_field_may_have_any_name(app: App, sandbox: Sandbox) -> None:
    fields = dict.fromkeys(("self", "session", "event", "behaviour", ""), "x")
    answer = ask(sandbox, "POST", f"/sessions/{app.started()}/callbacks", {"event": "e", "fields": fields})
    assert answer.json()["fields"].items() >= fields.items()


def test_nothing_can_be_sent_where_no_callback_was_ordered(sandbox: Sandbox) -> None:
    session = sandbox.begin("AC1", CALL, None)
    answer = ask(sandbox, "POST", f"/sessions/{session.sid}/callbacks", {"event": "siprec-started"})
    assert answer.status_code == 409


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Length": "x"}, 400),
        ({"Content-Length": "2000000"}, 413),
        ({"Transfer-Encoding": "chunked"}, 411),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    sandbox: Sandbox, headers: dict[str, str], status: int
) -> None:
    with requests.Session() as http:
        order = requests.Request("PUT", f"{sandbox.control_url}/behaviour", headers=headers)
        answer = http.send(order.prepare(), timeout=5)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["detail"]


def test_a_target_that_is_no_url_is_refused(sandbox: Sandbox) -> None:
    address = urlsplit(sandbox.url)
    with socket.create_connection((address.hostname, address.port), 5) as connection:
        connection.sendall(b"GET http://[ HTTP/1.1\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 Bad request target")


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(),
        Behaviour.from_json(
            {"answer": {"kind": "error", "status": 429, "times": 2}, "drop": ["siprec-failed"]}
        ),
        Behaviour(known_calls=frozenset(["b", "a"]), fields={"A": None}, starts=True, repeat=3),
    ],
)
def test_a_behaviour_survives_json(behaviour: Behaviour) -> None:
    assert Behaviour.from_json(behaviour.to_json()) == behaviour


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"answer": {"status": 429}}, "answer.kind must be error"),
        ({"answer": {"kind": "reset", "fields": {"sid": "x"}}}, "answer.kind must be accept"),
        ({"answer": {"knd": "reset"}}, "answer.knd: no such member"),
        ({"answer": 5}, "answer must be the kind of an answer"),
        ({"repeat": True}, "repeat must be a number"),
        ({"repeat": 1.5}, "repeat must be a whole number"),
        ({"started_after_seconds": float("nan")}, "started_after_seconds must be a number"),
        ({"started_after_seconds": -1}, "started_after_seconds must be a number from 0"),
        ({"drop": "siprec-started"}, "drop must be a list"),
        ({"drop": ["siprec-strated"]}, "drop must be one of siprec-started"),
        ({"forge": 1}, "forge must be true or false"),
        ({"started_before_answer": True, "order": "reversed"}, "started_before_answer"),
        (None, "must be a JSON object"),
    ],
)
def test_a_behaviour_nobody_could_play_is_refused(document: Any, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        Behaviour.from_json(document)
    assert str(refused.value).startswith(words)
