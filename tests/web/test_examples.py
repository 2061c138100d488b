"""What the API document shows as an example is what the service answers, word for word."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from service.sandbox import Answer
from service.web.examples import CALL_SID
from service.web.openapi_answers import ANSWERS
from service.web.operation import declared
from service.web.problem_examples import PROBLEMS
from service.web.problems import KINDS, ProblemDocument
from tests.web.indoors import Indoors, JsonResponse

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

ORDER = {
    "call_sid": CALL_SID,
    "connector_name": "recorder",
    "reference": "claim-77",
    "labels": {"team": "fraud"},
}
# What differs from one time to the next.
CHANGING = {
    "<time>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",
    "<id>": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "<key>": r"ed25519:[0-9a-f]{16}",
}


def unchanging(shown: Any) -> Any:
    text = json.dumps(shown, ensure_ascii=False)
    for instead, pattern in CHANGING.items():
        text = re.sub(pattern, instead, text)
    return json.loads(text)


def is_as_shown(answer: JsonResponse, operation_id: str) -> bool:
    """Fails with what differs, and is never false."""
    assert unchanging(answer.json) == unchanging(ANSWERS[operation_id, answer.status_code])
    return True


@pytest.fixture
def claims_app(furnish: Callable[..., Indoors]) -> Indoors:
    """A service whose client has the name that stands in the examples."""
    indoors = furnish(TELNYX_TIMEOUT_SECONDS=0.5)
    indoors.client = indoors.bearing(indoors.new_key("claims-app"))
    return indoors


def test_each_is_what_its_model_makes(indoors: Indoors) -> None:
    answers = {
        (operation.id, status): model
        for operation in declared.values()
        for status, model in operation.answers.items()
    }
    assert set(answers) == set(ANSWERS)
    for place, model in answers.items():
        shown = ANSWERS[place]
        made = model.model_validate_json(json.dumps(shown)).model_dump_json(by_alias=True)
        assert json.loads(made) == shown, place


def test_no_problem_is_shown_that_no_route_has(indoors: Indoors) -> None:
    documented = indoors.stranger.get("/openapi.json").json
    shown = {
        name
        for operations in documented["paths"].values()
        for operation in operations.values()
        for response in operation["responses"].values()
        for name in response["content"].get("application/problem+json", {}).get("examples", {})
    }
    assert set(PROBLEMS) <= shown <= set(KINDS)
    for name, problem in PROBLEMS.items():
        document = problem.document("req-1")
        assert document["type"].endswith(f":{name}")
        ProblemDocument.model_validate(document)


def test_one_call_is_told_as_the_examples_tell_it(claims_app: Indoors) -> None:
    indoors, client = claims_app, claims_app.client
    started = client.post("/v1/sessions", json=ORDER)
    assert is_as_shown(started, "startSession")
    path = f"/v1/sessions/{started.json['id']}"
    indoors.tell("siprec-started", CALL_SID)
    assert is_as_shown(client.post(f"{path}/stop"), "stopSession")
    indoors.tell("siprec-stopped", CALL_SID)
    assert is_as_shown(client.get(path), "getSession")
    assert is_as_shown(client.get(f"{path}/timeline"), "listTimeline")
    assert is_as_shown(client.get(f"{path}/callbacks"), "listSessionCallbacks")
    assert is_as_shown(client.get("/v1/sessions"), "listSessions")


def test_a_start_without_an_answer_is_told_as_shown(claims_app: Indoors) -> None:
    claims_app.answers(Answer("timeout"))
    assert is_as_shown(claims_app.client.post("/v1/sessions", json=ORDER), "startSession")


def test_health_is_told_as_shown(indoors: Indoors) -> None:
    assert is_as_shown(indoors.stranger.get("/healthz"), "getHealth")
    shown = ANSWERS["getReadiness", 200]
    assert indoors.stranger.get("/readyz").json["database"] == shown["database"]


def told(answer: JsonResponse) -> dict[str, Any]:
    return dict(unchanging({name: value for name, value in answer.json.items() if name != "request_id"}))


def test_problems_are_told_as_shown(claims_app: Indoors) -> None:
    client, stranger = claims_app.client, claims_app.stranger
    nobody = {"Authorization": "Bearer nobody"}
    claims_app.answers(Answer("timeout"))
    waiting = f"/v1/sessions/{claims_app.start('v3:1').json['id']}/stop"
    claims_app.answers()
    over = f"/v1/sessions/{claims_app.started('v3:2')}/stop"
    claims_app.tell("siprec-stopped", "v3:2")
    assert claims_app.start("v3:3", key="once").status_code == 201
    seen = {
        "key-missing": stranger.get("/v1/sessions"),
        "key-unknown": stranger.get("/v1/sessions", headers=nobody),
        "unknown-session": client.get("/v1/sessions/018f0000-0000-7000-8000-000000000000"),
        "not-json": client.post("/v1/sessions", data="x"),
        "invalid-json": client.post("/v1/sessions", data="{", content_type="application/json"),
        "invalid-request": client.get("/v1/sessions?colour=red"),
        "session-over": client.post(over),
        "session-without-sid": client.post(waiting),
        "key-reused": claims_app.start("v3:4", key="once"),
    }
    claims_app.answers(Answer.error(422, code="90034", detail="Call is not answered"))
    seen["telnyx-refused"] = claims_app.start("v3:5")
    claims_app.answers(Answer.error(401, code="10009", detail="Authentication failed"))
    seen["telnyx-credentials"] = claims_app.start("v3:6")
    claims_app.answers(Answer.error(429, code="10011", detail="Too many requests", retry_after_seconds=7))
    seen["telnyx-rate-limit"] = claims_app.start("v3:7")
    claims_app.answers(stop=Answer("timeout"))
    seen["telnyx-no-answer"] = client.post(f"/v1/sessions/{claims_app.started('v3:8')}/stop")
    claims_app.sandbox.stop()
    seen["telnyx-unreachable"] = claims_app.start("v3:9")
    for name, answer in seen.items():
        shown = PROBLEMS[name].document("")
        del shown["request_id"]
        assert told(answer) == unchanging(shown), name
