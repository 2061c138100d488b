"""What apps send that is wrong, and what they are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.web.indoors import SECRET_KEY, Indoors, JsonResponse

on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

AN_ID = "018f0000-0000-7000-8000-000000000000"
A_CALL = {"call_sid": "v3:call-1"}


def pointers(answer: JsonResponse) -> set[tuple[str, str]]:
    return {(error["in"], error["pointer"]) for error in answer.json["errors"]}


def check(answer: JsonResponse, status: int) -> None:
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json"), answer.text
    assert answer.json["status"] == status


UNREADABLE = {
    "nothing": b"",
    "not JSON": b"call_sid=v3",
    "cut off": b'{"call_sid": "v3',
    "two documents": b"{}{}",
    "a trailing comma": b'{"call_sid": "v3",}',
    "not UTF-8": b'{"call_sid": "\xff"}',
    "a byte order mark": b'\xef\xbb\xbf{"call_sid": "v3"}',
    "a lone surrogate": b'{"call_sid": "\\ud800"}',
    "a lone surrogate as a label": b'{"call_sid": "v3", "labels": {"\\udfff": "x"}}',
    "a raw control character": b'{"call_sid": "v\n3"}',
    "nested too deeply": b'{"labels":' * 5000,
    "lists nested too deeply": b"[" * 60_000,
}


@on_sqlite
def test_json_that_is_not_json_is_400(indoors: Indoors) -> None:
    for name, body in UNREADABLE.items():
        answer = indoors.client.post("/v1/sessions", data=body, content_type="application/json")
        assert (name, answer.status_code) == (name, 400)
        check(answer, 400)
        assert answer.json["detail"]
    assert indoors.sandbox.requests == []


def wrong(**fields: Any) -> bytes:
    return json.dumps({**A_CALL, **fields}).encode()


LONG = "x" * 256
WRONG: dict[str, tuple[bytes, set[str]]] = {
    "a list": (b"[]", {""}),
    "a text": (b'"v3"', {""}),
    "null": (b"null", {""}),
    "no call": (b"{}", {"/call_sid"}),
    "null for the call": (wrong(call_sid=None), {"/call_sid"}),
    "a number for the call": (wrong(call_sid=3), {"/call_sid"}),
    "an empty call": (wrong(call_sid=""), {"/call_sid"}),
    "a list for the call": (wrong(call_sid=["v3"]), {"/call_sid"}),
    "one dot": (wrong(call_sid="."), {"/call_sid"}),
    "two dots": (wrong(call_sid=".."), {"/call_sid"}),
    "two dots for the account": (wrong(account_sid=".."), {"/account_sid"}),
    "NUL": (wrong(call_sid="v3\0"), {"/call_sid"}),
    "a control character": (wrong(name="a\x1bb"), {"/name"}),
    "a C1 control character": (wrong(name="a\x85b"), {"/name"}),
    "a line feed at the end": (wrong(reference="claim\n"), {"/reference"}),
    "NUL in a label": (wrong(labels={"team": "\0"}), {"/labels/team"}),
    "NUL in a label's key": (wrong(labels={"te\0am": "x"}), {"/labels/te\0am"}),
    "too long a call": (wrong(call_sid=LONG), {"/call_sid"}),
    "too long a reference": (wrong(reference=LONG), {"/reference"}),
    "too long a label": (wrong(labels={"team": LONG}), {"/labels/team"}),
    "too long a key of a label": (wrong(labels={"t" * 65: "x"}), {f"/labels/{'t' * 65}"}),
    "an empty label": (wrong(labels={"team": ""}), {"/labels/team"}),
    "an empty key of a label": (wrong(labels={"": "x"}), {"/labels/"}),
    "a slash and a tilde in a key": (wrong(labels={"a/b~c": "x"}), {"/labels/a~1b~0c"}),
    "nested labels": (wrong(labels={"team": {"a": "b"}}), {"/labels/team"}),
    "a list of labels": (wrong(labels=["team"]), {"/labels"}),
    "too many labels": (wrong(labels={f"l{n}": "x" for n in range(33)}), {"/labels"}),
    "an unknown field": (wrong(colour="red"), {"/colour"}),
    "a field that is ours": (wrong(status_callback="https://x.example"), {"/status_callback"}),
    "Telnyx's own name of a field": (wrong(ConnectorName="r"), {"/ConnectorName"}),
    "an unknown field with a slash": (wrong(**{"a/b": 1}), {"/a~1b"}),
    "an unknown track": (wrong(track="left"), {"/track"}),
    "a text for a boolean": (wrong(secure="true"), {"/secure"}),
    "a number for a boolean": (
        wrong(include_metadata_custom_headers=1),
        {"/include_metadata_custom_headers"},
    ),
    "an unknown transport": (wrong(sip_transport="UDP"), {"/sip_transport"}),
    "an unknown method": (wrong(status_callback_method="post"), {"/status_callback_method"}),
    "null for the method": (wrong(status_callback_method=None), {"/status_callback_method"}),
    "a text for a number": (wrong(session_timeout_secs="90"), {"/session_timeout_secs"}),
    "a boolean for a number": (wrong(session_timeout_secs=True), {"/session_timeout_secs"}),
    "a fraction": (wrong(session_timeout_secs=90.5), {"/session_timeout_secs"}),
    "too short a timeout": (wrong(session_timeout_secs=89), {"/session_timeout_secs"}),
    "a negative timeout": (wrong(session_timeout_secs=-1), {"/session_timeout_secs"}),
    "more than a column holds": (wrong(session_timeout_secs=2**31), {"/session_timeout_secs"}),
    "a huge number": (wrong(session_timeout_secs=10**4000), {"/session_timeout_secs"}),
    "infinity": (b'{"call_sid": "v3", "session_timeout_secs": Infinity}', {"/session_timeout_secs"}),
    "five things at once": (
        wrong(call_sid="", track=1, secure=2, labels={"a b": "x"}, more=0),
        {"/call_sid", "/track", "/secure", "/labels/a b", "/more"},
    ),
}


@on_sqlite
def test_every_wrong_field_is_named_with_what_is_expected(indoors: Indoors) -> None:
    for name, (body, wanted) in WRONG.items():
        answer = indoors.client.post("/v1/sessions", data=body, content_type="application/json")
        assert (name, answer.status_code) == (name, 422)
        check(answer, 422)
        assert (name, pointers(answer)) == (name, {("body", pointer) for pointer in wanted})
        assert len(answer.json["errors"]) == len(wanted), name
        assert all(error["detail"] for error in answer.json["errors"])
    assert indoors.sandbox.requests == []
    assert indoors.client.get("/v1/sessions").json["sessions"] == []


@on_sqlite
@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"],
)
def test_a_body_that_does_not_say_it_is_json_is_415(indoors: Indoors, content_type: str | None) -> None:
    check(indoors.client.post("/v1/sessions", data=wrong(), content_type=content_type), 415)


@on_sqlite
@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON"])
def test_json_may_be_said_in_several_ways(indoors: Indoors, content_type: str) -> None:
    answer = indoors.client.post("/v1/sessions", data=wrong(), content_type=content_type)
    assert answer.status_code == 201


@on_sqlite
def test_a_body_over_64_kib_is_413(indoors: Indoors) -> None:
    padding = b" " * (64 * 1024 - len(wrong()))
    for path in ("/v1/sessions", f"/v1/sessions/{AN_ID}/stop"):
        much = indoors.client.post(path, data=wrong() + padding + b" ", content_type="application/json")
        check(much, 413)
    fits = indoors.client.post("/v1/sessions", data=wrong() + padding, content_type="application/json")
    assert fits.status_code == 201


@on_sqlite
@pytest.mark.parametrize("id", ["1", "x", AN_ID[:-1], f"{AN_ID}0", f"{{{AN_ID}}}", "%00", "..", "a%2Fb"])
def test_an_id_that_is_not_an_id_is_404(indoors: Indoors, id: str) -> None:
    for method, path in (
        ("GET", id),
        ("GET", f"{id}/callbacks"),
        ("GET", f"{id}/timeline"),
        ("POST", f"{id}/stop"),
    ):
        check(indoors.client.open(f"/v1/sessions/{path}", method=method), 404)


@on_sqlite
def test_an_id_that_names_nothing_is_404(indoors: Indoors) -> None:
    for method, path in (
        ("GET", AN_ID),
        ("GET", f"{AN_ID}/callbacks"),
        ("GET", f"{AN_ID}/timeline"),
        ("POST", f"{AN_ID}/stop"),
    ):
        answer = indoors.client.open(f"/v1/sessions/{path}", method=method)
        check(answer, 404)
        assert answer.json["type"] == "urn:siprec-ledger:problem:unknown-session"


@on_sqlite
def test_a_sid_is_one_segment_of_the_path_whatever_is_in_it(indoors: Indoors) -> None:
    sids = {
        "a/b": "a%2Fb",
        "../../x": "..%2F..%2Fx",
        "a?b#c": "a%3Fb%23c",
        "100%": "100%25",
        "%2e%2e": "%252e%252e",
        "ä b": "%C3%A4%20b",
        "v3:9X2v": "v3:9X2v",
        "...": "...",
        "a\\b;c": "a%5Cb%3Bc",
    }
    for sid, quoted in sids.items():
        assert indoors.start(sid, account_sid=sid).status_code == 201, sid
        asked = indoors.sandbox.requests[-1]
        assert asked.path == f"/v2/texml/Accounts/{quoted}/Calls/{quoted}/Siprec.json"
        assert indoors.sandbox.sessions[-1].call_sid == sid
    assert len(indoors.sandbox.requests) == len(sids)


def test_text_that_may_be_odd_comes_back_as_it_was(indoors: Indoors) -> None:
    odd = [
        "'; DROP TABLE session; --",
        "%_\\",
        '{"a": "b"}',
        "\N{PILE OF POO}",
        "e\u0301",
        "\u202e",
        " ",
        "x" * 255,
    ]
    odd += ["\ufffe", "\U0010ffff", "null", "ä" * 255]
    for text in odd:
        told = {"reference": text, "name": text, "connector_name": text, "labels": {"a.b-c_D": text}}
        shown = indoors.session(indoors.started(text, account_sid=text, **told))
        assert {name: shown[name] for name in (*told, "call_sid", "account_sid")} == {
            **told,
            "call_sid": text,
            "account_sid": text,
        }


QUERIES = {
    "limit=0": "/limit",
    "limit=251": "/limit",
    "limit=-1": "/limit",
    "limit=x": "/limit",
    "limit=": "/limit",
    "limit=1.5": "/limit",
    f"limit={'9' * 5000}": "/limit",
    "limit=1&limit=1": "/limit",
    "state=over": "/state/0",
    "state=": "/state/0",
    "state=started&state=over": "/state/1",
    "state=started" + 7 * "&state=stopped": "/state",
    "call_sid=": "/call_sid",
    "call_sid=a%00b": "/call_sid",
    "call_sid=a%0Ab": "/call_sid",
    f"reference={LONG}": "/reference",
    "requested_after=yesterday": "/requested_after",
    "requested_after=2026-01-01": "/requested_after",
    "requested_after=2026-01-01T00:00:00": "/requested_after",  # naive
    "requested_after=1700000000": "/requested_after",
    "requested_before=2026-13-01T00:00:00Z": "/requested_before",
    "requested_before=2026-01-01T25:00:00Z": "/requested_before",
    "requested_before=0001-01-01T00:00:00%2B14:00": "/requested_before",  # no such time in UTC
    "requested_before=9999-12-31T23:59:59-12:00": "/requested_before",
    "label=team": "/label/0",
    "label=:x": "/label/0",
    "label=team:": "/label/0",
    "label=a%20b:x": "/label/0",
    "label=team:%00": "/label/0",
    "label=team:x&label=team": "/label/1",
    "colour=red": "/colour",
    "colour=red&colour=blue": "/colour",
    "a/b=1": "/a~1b",
    "=": "/",
    "Limit=5": "/Limit",
    "cursor=": "/cursor",
    "cursor=x": "/cursor",
    "cursor=%00": "/cursor",
    "cursor=%F0%9F%92%A9": "/cursor",
    f"cursor={'x' * 2001}": "/cursor",
}


@on_sqlite
def test_a_wrong_query_is_named(indoors: Indoors) -> None:
    for query, pointer in QUERIES.items():
        answer = indoors.client.get(f"/v1/sessions?{query}")
        assert (query, answer.status_code) == (query, 422)
        check(answer, 422)
        assert (query, pointers(answer)) == (query, {("query", pointer)})


@on_sqlite
def test_a_wrong_query_of_callbacks_is_named(indoors: Indoors) -> None:
    queries = {"limit=251": "/limit", "problem=perhaps": "/problem", "problem=": "/problem", "x=1": "/x"}
    queries |= {"cursor=x": "/cursor", f"cursor={cursor_of(indoors)}": "/cursor"}
    for query, pointer in queries.items():
        answer = indoors.client.get(f"/v1/callbacks?{query}")
        check(answer, 422)
        assert (query, pointers(answer)) == (query, {("query", pointer)})


@on_sqlite
def test_no_door_takes_a_query_that_it_does_not_know(indoors: Indoors) -> None:
    session_id = indoors.started()
    paths = ["POST /v1/sessions", f"GET /v1/sessions/{session_id}"]
    paths += [
        f"GET /v1/sessions/{session_id}/callbacks",
        f"GET /v1/sessions/{session_id}/timeline",
        f"POST /v1/sessions/{session_id}/stop",
    ]
    for path in paths:
        method, _, where = path.partition(" ")
        body = {"json": A_CALL} if where == "/v1/sessions" else {}
        answer = indoors.client.open(f"{where}?verbose=1", method=method, **body)
        check(answer, 422)
        assert pointers(answer) == {("query", "/verbose")}
    assert len(indoors.sandbox.requests) == 1


def cursor_of(indoors: Indoors, query: str = "") -> str:
    for n in range(3):
        indoors.started(f"call-{n}", reference="r")
    return str(indoors.client.get(f"/v1/sessions?limit=1{query}").json["next_cursor"])


def cut(cursor: str) -> str:
    return cursor[:-1]


def with_another_signature(cursor: str) -> str:
    return cursor[:-4] + ("AAAA" if cursor[-4:] != "AAAA" else "BBBB")


@on_sqlite
@pytest.mark.parametrize("change", [cut, with_another_signature, str.upper, str.swapcase])
def test_a_cursor_that_is_not_ours_is_422(indoors: Indoors, change: Callable[[str], str]) -> None:
    answer = indoors.client.get("/v1/sessions", query_string={"cursor": change(cursor_of(indoors))})
    check(answer, 422)
    assert pointers(answer) == {("query", "/cursor")}


@on_sqlite
@pytest.mark.parametrize(
    "other",
    [
        "&state=accepted",
        "&reference=r&state=accepted",
        "&reference=s",
        "&label=reference:r",
        "&requested_after=2020-01-01T00:00:00Z",
    ],
)
def test_a_cursor_of_another_list_is_422(indoors: Indoors, other: str) -> None:
    cursor = cursor_of(indoors, "&reference=r")
    assert indoors.client.get(f"/v1/sessions?reference=r&cursor={cursor}").status_code == 200
    check(indoors.client.get(f"/v1/sessions?cursor={cursor}{other}"), 422)
    check(indoors.client.get(f"/v1/sessions?cursor={cursor}"), 422)


@on_sqlite
def test_a_cursor_of_another_secret_is_422(furnish: Callable[..., Indoors]) -> None:
    cursor = cursor_of(furnish(SECRET_KEY="another secret that is long enough"))
    check(furnish().client.get(f"/v1/sessions?cursor={cursor}"), 422)


@on_sqlite
def test_a_cursor_outlives_the_rotation_of_the_secret(furnish: Callable[..., Indoors]) -> None:
    cursor = cursor_of(furnish())
    later = furnish(SECRET_KEY="another secret that is long enough", SECRET_KEY_FALLBACKS=[SECRET_KEY])
    assert later.client.get(f"/v1/sessions?cursor={cursor}").status_code == 200


@on_sqlite
@pytest.mark.parametrize("key", ["", "x" * 256, "k\xe4y", "two words", "tab\there", "del\x7f"])
def test_an_idempotency_key_that_is_none_is_422(indoors: Indoors, key: str) -> None:
    answer = indoors.start(key=key)
    check(answer, 422)
    assert pointers(answer) == {("header", "/Idempotency-Key")}
    assert indoors.sandbox.requests == []


@on_sqlite
@pytest.mark.parametrize("key", ["x", "!" * 255, "550e8400-e29b-41d4-a716-446655440000"])
def test_an_idempotency_key_may_be_any_visible_ascii(indoors: Indoors, key: str) -> None:
    assert indoors.start(key=key).status_code == 201


METHODS = {
    "/v1/sessions": {"GET", "HEAD", "OPTIONS", "POST"},
    f"/v1/sessions/{AN_ID}": {"GET", "HEAD", "OPTIONS"},
    f"/v1/sessions/{AN_ID}/callbacks": {"GET", "HEAD", "OPTIONS"},
    f"/v1/sessions/{AN_ID}/timeline": {"GET", "HEAD", "OPTIONS"},
    f"/v1/sessions/{AN_ID}/stop": {"POST", "OPTIONS"},
    "/healthz": {"GET", "HEAD", "OPTIONS"},
    "/openapi.json": {"GET", "HEAD", "OPTIONS"},
    "/docs": {"GET", "HEAD", "OPTIONS"},
}


@on_sqlite
def test_a_method_that_a_door_does_not_know_is_405_and_says_which_it_does(indoors: Indoors) -> None:
    for path, allowed in METHODS.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "NONSENSE"} - allowed:
            answer = indoors.client.open(path, method=method)
            check(answer, 405)
            assert {one.strip() for one in answer.headers["Allow"].split(",")} == allowed


@on_sqlite
def test_a_start_without_an_account_needs_the_setting(furnish: Callable[..., Indoors]) -> None:
    indoors = furnish(TELNYX_ACCOUNT_SID=None)
    answer = indoors.start()
    check(answer, 422)
    assert pointers(answer) == {("body", "/account_sid")}
    assert indoors.start(account_sid="account-2").json["account_sid"] == "account-2"
