"""The sandbox keeps to Telnyx's published contract."""

from email.utils import parsedate_to_datetime
from urllib.parse import quote

import pytest
import requests

from service.sandbox import Behaviour, Sandbox
from tests.sandbox.conftest import CALL, App


def test_a_start_is_answered_in_the_documented_shape(app: App) -> None:
    answer = app.start(Track="outbound_track")
    said = answer.json()
    assert answer.status_code == 200
    assert (said["account_sid"], said["call_sid"]) == ("AC1", CALL)
    assert (said["status"], said["track"], said["error_code"]) == ("in-progress", "outbound_track", None)
    assert said["uri"] == f"/v2/texml/Accounts/AC1/Calls/{CALL}/Siprec/{said['sid']}.json"
    for name in ("date_created", "date_updated", "start_time"):
        assert parsedate_to_datetime(said[name]).utcoffset() is not None


def test_a_sid_is_decoded_after_the_path_is_split(app: App, sandbox: Sandbox) -> None:
    said = app.start("a%2Fb/ü ?").json()
    assert said["call_sid"] == "a%2Fb/ü ?"
    assert sandbox.requests[0].path.endswith(f"/Calls/{quote('a%2Fb/ü ?', safe='')}/Siprec.json")


def test_forms_and_json_are_both_understood_whatever_the_content_type_says(
    app: App, sandbox: Sandbox
) -> None:
    url = f"{sandbox.url}/texml/Accounts/AC1/Calls/{CALL}/Siprec.json"
    headers = {"Authorization": "Bearer KEY_SANDBOX", "Content-Type": "application/x-www-form-urlencoded"}
    body = '{"Track": "inbound_track", "Secure": true, "SessionTimeoutSecs": 0, "Name": null}'
    answer = requests.post(url, data=body, headers=headers, timeout=5)
    assert answer.json()["track"] == "inbound_track"
    assert sandbox.requests[0].fields == {
        "Track": "inbound_track",
        "Secure": "true",
        "SessionTimeoutSecs": "0",
    }
    assert app.start(Secure="true", SessionTimeoutSecs="0").status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Track", "both"),
        ("Secure", "yes"),
        ("IncludeMetadataCustomHeaders", "1"),
        ("SessionTimeoutSecs", "89"),
        ("SessionTimeoutSecs", "14441"),
        ("SessionTimeoutSecs", "-1"),
        ("SessionTimeoutSecs", "90.5"),
        ("SessionTimeoutSecs", "soon"),
        ("SipTransport", "sctp"),
        ("StatusCallback", "ftp://example.com/"),
        ("StatusCallback", "https:///nowhere"),
        ("StatusCallback", "https://example.com:99999/"),
        ("StatusCallback", "https://example.com/" + "a" * 2000),
        ("StatusCallbackMethod", "PUT"),
    ],
)
def test_a_field_out_of_range_is_refused_by_name(app: App, sandbox: Sandbox, name: str, value: str) -> None:
    answer = app.start(**{name: value})
    (error,) = answer.json()["errors"]
    assert answer.status_code == 422
    assert error["code"] == "10032"
    assert error["detail"].startswith(name)
    assert error["source"] == {"pointer": f"/{name}"}
    assert sandbox.sessions == []


@pytest.mark.parametrize("body", ["{", "[1]", '{"a": ' + "[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused_and_recorded(sandbox: Sandbox, body: str) -> None:
    url = f"{sandbox.url}/texml/Accounts/AC1/Calls/{CALL}/Siprec.json"
    answer = requests.post(url, data=body, headers={"Authorization": "Bearer KEY_SANDBOX"}, timeout=5)
    assert answer.status_code == 400
    assert sandbox.requests[0].body == body.encode()


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer KEY"}, {"Authorization": "Basic x"}])
def test_another_api_key_is_refused(sandbox: Sandbox, header: dict[str, str]) -> None:
    answer = requests.get(f"{sandbox.url}/public_key", headers=header, timeout=5)
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["code"] == "10009"


def test_the_public_key_can_be_asked_for(app: App, sandbox: Sandbox) -> None:
    assert app.get("/public_key").json() == {"data": {"public": sandbox.public_key}}


def test_what_nobody_knows_is_not_found(app: App, sandbox: Sandbox) -> None:
    not_found = {"errors": [{"detail": "Resource not found"}]}
    sid = app.started()
    for answer in (app.stop("none"), app.stop(sid, call_sid="other"), app.get("/nothing")):
        assert (answer.status_code, answer.json()) == (404, not_found)
    known = frozenset(["one"])
    sandbox.behave(Behaviour(known_calls=known, known_connectors=known))
    for answer in (
        app.start(),
        app.get(f"/texml/Accounts/AC1/Calls/{CALL}"),
        app.get("/siprec_connectors/two"),
    ):
        assert (answer.status_code, answer.json()) == (404, not_found)
    sandbox.behave(Behaviour(known_accounts=known))
    assert app.start().status_code == 404


def test_a_connector_has_the_port_that_it_is_told(app: App, sandbox: Sandbox) -> None:
    assert app.get("/siprec_connectors/one").json()["data"]["port"] == 5060
    sandbox.behave(Behaviour(connector_port=5061))
    assert app.get("/siprec_connectors/one").json()["data"]["port"] == 5061


def test_only_stopped_is_a_status_to_ask_for_and_none_changes_nothing(app: App, sandbox: Sandbox) -> None:
    sid = app.started()
    assert app.stop(sid, status="in-progress").status_code == 422
    assert app.post(f"/texml/Accounts/AC1/Calls/{CALL}/Siprec/{sid}.json", {}).status_code == 200
    assert [session.status for session in sandbox.sessions] == ["running"]


def test_a_session_that_is_over_can_be_stopped_again_or_be_unknown(app: App, sandbox: Sandbox) -> None:
    sid = app.started()
    assert app.stop(sid).json()["status"] == "in-progress"
    assert sandbox.wait_until_idle(5)
    assert app.stop(sid).json()["status"] == "stopped"
    sandbox.behave(Behaviour(ended_is_unknown=True))
    assert app.stop(sid).status_code == 404
    assert app.receiver.events == ["siprec-started", "siprec-stopped"]


def test_a_call_that_ends_is_completed_and_ends_its_sessions(app: App, sandbox: Sandbox) -> None:
    sids = {app.started(), app.started()}
    before = app.get(f"/texml/Accounts/AC1/Calls/{CALL}").json()
    assert {session.sid for session in sandbox.end_call(CALL)} == sids
    after = app.get(f"/texml/Accounts/AC1/Calls/{CALL}").json()
    assert sandbox.wait_until_idle(5)
    assert (before["status"], before["end_time"]) == ("in-progress", None)
    assert after["status"] == "completed"
    assert parsedate_to_datetime(after["end_time"]) >= parsedate_to_datetime(after["start_time"])
    assert app.receiver.events[2:] == ["siprec-stopped"] * 2
    assert app.start().json()["errors"][0]["code"] == "90018"


def test_a_call_can_be_said_to_be_what_it_is_not(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(call_status="no-answer"), CALL)
    assert app.get(f"/texml/Accounts/AC1/Calls/{CALL}").json()["status"] == "no-answer"
    assert app.get("/texml/Accounts/AC1/Calls/other").json()["status"] == "in-progress"
