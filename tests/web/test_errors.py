"""What every answer has in common, above all those that say no (RFC 9457)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from service.log_lines import fields_of
from service.store.engine import DatabaseConflict, DatabaseError, RecordRefused
from service.store.errors import Outage
from tests.web.indoors import Indoors

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

AN_ID = "018f0000-0000-7000-8000-000000000000"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

EVERYWHERE = [
    ("GET", "/v1/sessions"),
    ("POST", "/v1/sessions"),
    ("GET", f"/v1/sessions/{AN_ID}"),
    ("DELETE", "/v1/sessions"),
    ("GET", "/"),
    ("GET", "/nowhere"),
    ("GET", "/healthz"),
    ("HEAD", "/healthz"),
    ("OPTIONS", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/docs/docs.css"),
    ("GET", "/docs/nothing"),
    ("GET", "/docs/%00"),
    ("GET", "/docs/..%2freference.py"),
    ("GET", "/callbacks/siprec"),
    ("POST", "/callbacks/siprec/x"),
    ("HEAD", "/callbacks/siprec/x"),
    ("PUT", "/callbacks/siprec/x"),
]


def test_a_sane_request_id_comes_back_on_every_answer(indoors: Indoors) -> None:
    for sane in ("a", "req-1", "2026:x_y.z", "x" * 128):
        for method, path in EVERYWHERE:
            answer = indoors.client.open(path, method=method, headers={"X-Request-Id": sane}, buffered=True)
            assert (method, path, answer.headers.getlist("X-Request-Id")) == (method, path, [sane])


def test_any_other_request_id_is_replaced_on_every_answer(indoors: Indoors) -> None:
    seen = set()
    for strange in (None, "", "x" * 129, "two words", "caf\xe9", "<script>", "a,b", '"', "a%0Ab"):
        headers = {} if strange is None else {"X-Request-Id": strange}
        for method, path in EVERYWHERE:
            answer = indoors.client.open(path, method=method, headers=headers, buffered=True)
            made = answer.headers["X-Request-Id"]
            assert UUID.fullmatch(made), (method, path, strange)
            seen.add(made)
    assert len(seen) == 9 * len(EVERYWHERE)


def test_every_answer_tells_browsers_to_be_careful(indoors: Indoors) -> None:
    for method, path in EVERYWHERE:
        if path.startswith("/callbacks"):
            continue  # no browser comes here, and there is nothing to see
        answer = indoors.client.open(path, method=method, buffered=True)
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'"), path
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] in {"no-store", "public, max-age=3600"}


PROBLEMS: list[tuple[str, str, int, str, str]] = [
    ("GET", "/nowhere", 404, "not-found", "Not found"),
    ("GET", "/v1/sessions/", 404, "not-found", "Not found"),
    ("GET", f"/v1/sessions/{AN_ID}", 404, "unknown-session", "Session not found"),
    ("PUT", "/v1/sessions", 405, "method-not-allowed", "Method not allowed"),
    ("POST", "/v1/sessions", 415, "not-json", "Content-Type is not JSON"),
    ("GET", "/v1/sessions?x=1", 422, "invalid-request", "Invalid request"),
]


@pytest.mark.parametrize(("method", "path", "status", "name", "title"), PROBLEMS)
def test_a_problem_has_the_members_of_rfc_9457(
    indoors: Indoors, method: str, path: str, status: int, name: str, title: str
) -> None:
    answer = indoors.client.open(path, method=method, headers={"X-Request-Id": "req-1"})
    assert answer.headers["Content-Type"] == "application/problem+json"
    told = answer.json
    assert (answer.status_code, told["status"]) == (status, status)
    assert told["type"] == f"urn:siprec-ledger:problem:{name}"
    assert told["title"] == title
    assert told["request_id"] == "req-1"
    assert None not in told.values()
    assert set(told) <= {"type", "title", "status", "detail", "errors", "request_id"}


def test_a_wrong_field_is_told_with_place_pointer_and_what_is_expected(indoors: Indoors) -> None:
    answer = indoors.start(labels={"team": "\0"}, session_timeout_secs=10, colour="red")
    assert answer.json["errors"] == [
        {"in": "body", "pointer": "/session_timeout_secs", "detail": "must be 0 (off), or at least 90"},
        {"in": "body", "pointer": "/labels/team", "detail": "must not hold control characters"},
        {"in": "body", "pointer": "/colour", "detail": "no such field"},
    ]


def test_what_was_sent_is_not_said_back(indoors: Indoors) -> None:
    answer = indoors.start("hush\0hush", name=["hush"], track="hush")
    assert len(answer.json["errors"]) == 3
    assert "hush" not in answer.text


def test_a_surprise_is_500_and_says_nothing_of_its_cause(
    indoors: Indoors, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(*_: object) -> None:
        raise ZeroDivisionError("the cause")

    monkeypatch.setattr("service.store.session_lists.page", stumble)
    answer = indoors.client.get("/v1/sessions", headers={"X-Request-Id": "req-1"})
    assert (answer.status_code, answer.mimetype) == (500, "application/problem+json")
    assert answer.json["type"] == "urn:siprec-ledger:problem:internal-error"
    assert "cause" not in answer.text
    assert {"request_id": "req-1"} in map(fields_of, caplog.records)
    assert "ZeroDivisionError" in caplog.text


NOBODY = "postgresql://postgres@/ledger?host=/nowhere"


def test_a_database_that_is_away_is_503_with_retry_after(furnish: Callable[..., Indoors]) -> None:
    client = furnish(DATABASE_URL=NOBODY).bearing(f"slk_{'0' * 32}_x")
    for method, path in (("GET", "/v1/sessions"), ("POST", "/v1/sessions"), ("GET", f"/v1/sessions/{AN_ID}")):
        answer = client.open(path, method=method)
        assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json["type"] == "urn:siprec-ledger:problem:database-unavailable"
        assert "nowhere" not in answer.text


def test_while_the_database_is_known_not_to_answer_nothing_waits_for_it(
    indoors: Indoors, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, session_id = indoors.client, indoors.started()
    indoors.stop_draining()
    indoors.context.database.breaker.failed(Outage.ALL, "a test")
    monkeypatch.setattr(indoors.context.database, "_reading", None)  # whoever reaches for it fails otherwise
    for path in ("/v1/sessions", f"/v1/sessions/{session_id}", "/v1/callbacks"):
        answer = client.get(path)
        assert (answer.status_code, answer.json["title"]) == (503, "Database unavailable")
        assert int(answer.headers["Retry-After"]) > 0


def test_while_writes_are_refused_reads_go_on_and_starts_and_stops_get_503(indoors: Indoors) -> None:
    session_id = indoors.started()
    indoors.stop_draining()
    indoors.context.database.breaker.failed(Outage.WRITES, "a test")
    assert indoors.client.get(f"/v1/sessions/{session_id}").status_code == 200
    for answer in (
        indoors.start("v3:call-2"),
        indoors.start("v3:call-2", key="k"),
        indoors.client.post(f"/v1/sessions/{session_id}/stop"),
    ):
        assert (answer.status_code, answer.json["title"]) == (503, "Database unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert len(indoors.sandbox.requests) == 1


def test_a_conflict_is_503_and_no_outage(indoors: Indoors, monkeypatch: pytest.MonkeyPatch) -> None:
    def collide(*_: object) -> None:
        raise DatabaseConflict("deadlock detected")

    monkeypatch.setattr("service.store.session_lists.page", collide)
    answer = indoors.client.get("/v1/sessions")
    assert (answer.status_code, answer.json["title"]) == (503, "Database busy")
    assert int(answer.headers["Retry-After"]) > 0
    assert "deadlock" not in answer.text


@pytest.mark.parametrize("kind", [DatabaseError, RecordRefused])
def test_a_database_that_will_not_do_it_is_500_and_in_the_log(
    indoors: Indoors,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: type[DatabaseError],
) -> None:
    def break_down(*_: object) -> None:
        raise kind("a constraint")

    monkeypatch.setattr("service.store.session_lists.page", break_down)
    answer = indoors.client.get("/v1/sessions")
    assert (answer.status_code, answer.mimetype) == (500, "application/problem+json")
    assert "constraint" not in answer.text
    assert "constraint" in caplog.text


def test_every_documented_answer_is_described(indoors: Indoors) -> None:
    document = indoors.client.get("/openapi.json").json
    for path in document["paths"].values():
        for operation in path.values():
            assert all(answer["description"] for answer in operation["responses"].values())
