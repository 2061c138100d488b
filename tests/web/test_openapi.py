"""The API document: valid, complete, and true."""

from __future__ import annotations

import re

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.sandbox import Answer
from service.web.problems import KINDS
from tests.web.indoors import PUBLIC_URL, Indoors

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


def test_it_is_valid_openapi_3_1(indoors: Indoors) -> None:
    answer = indoors.stranger.get("/openapi.json")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert answer.json["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(answer.json).iter_errors()) == []


def test_it_is_made_once(indoors: Indoors, monkeypatch: pytest.MonkeyPatch) -> None:
    first = indoors.stranger.get("/openapi.json")
    monkeypatch.delattr("service.web.docs.document")
    assert indoors.stranger.get("/openapi.json").data == first.data


def test_every_v1_route_is_in_it_with_its_security(indoors: Indoors) -> None:
    paths = indoors.stranger.get("/openapi.json").json["paths"]
    for rule in indoors.app.url_map.iter_rules():
        if not rule.rule.startswith("/v1/"):
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in set(rule.methods or ()) - {"HEAD", "OPTIONS"}:
            operation = paths[path][method.lower()]
            assert operation["security"] == [{"apiKey": []}], (method, path)
            assert {"401", "422", "503"} <= set(operation["responses"])
            assert "API key missing" in operation["responses"]["401"]["description"]
            assert operation["summary"]
    assert [path for path in paths if not path.startswith("/v1/")] == ["/healthz", "/readyz", "/metrics"]
    assert all("security" not in paths[path]["get"] for path in ("/healthz", "/readyz"))


def test_every_field_and_parameter_is_explained(indoors: Indoors) -> None:
    document = indoors.stranger.get("/openapi.json").json
    order = document["components"]["schemas"]["StartRequest"]
    assert [n for n, field in order["properties"].items() if not field.get("description")] == []
    for operations in document["paths"].values():
        for operation in operations.values():
            assert all(one.get("description") for one in operation["parameters"]), operation["operationId"]


def test_problems_are_told_as_problem_json(indoors: Indoors) -> None:
    document = indoors.stranger.get("/openapi.json").json
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400 and (path, status) != ("/readyz", "503"):
                    assert list(response["content"]) == ["application/problem+json"]
                    told = response["content"]["application/problem+json"]
                    assert told["schema"] == {"$ref": "#/components/schemas/ProblemDocument"}
                    titles = [KINDS[name].title for name in told["examples"]]
                    assert response["description"].split("; ") == titles
                    assert {KINDS[name].status for name in told["examples"]} == {int(status)}


def test_operations_have_names_that_clients_can_use(indoors: Indoors) -> None:
    """They are the names of methods in other people's code: one that is changed here breaks that code."""
    paths = indoors.stranger.get("/openapi.json").json["paths"]
    names = {
        operation["operationId"]: f"{method.upper()} {path}"
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert len(names) == sum(map(len, paths.values()))
    assert all(re.fullmatch("[a-z][A-Za-z]+", name) for name in names)
    assert NAMES.items() <= names.items()


NAMES = {
    "startSession": "POST /v1/sessions",
    "listSessions": "GET /v1/sessions",
    "getSession": "GET /v1/sessions/{session_id}",
    "listTimeline": "GET /v1/sessions/{session_id}/timeline",
    "listSessionCallbacks": "GET /v1/sessions/{session_id}/callbacks",
    "stopSession": "POST /v1/sessions/{session_id}/stop",
    "listCallbacks": "GET /v1/callbacks",
    "getHealth": "GET /healthz",
    "getReadiness": "GET /readyz",
}


def test_what_need_not_be_sent_has_no_default_and_what_comes_is_there(indoors: Indoors) -> None:
    """openapi-typescript makes a field with a default one that has to be sent."""
    document = indoors.stranger.get("/openapi.json").json
    schemas = document["components"]["schemas"]
    assert schemas["StartRequest"]["required"] == ["call_sid"]
    for name, schema in schemas.items():
        fields = schema.get("properties", {})
        assert [field for field, told in fields.items() if "default" in told] == [], name
    for name in ("SessionResponse", "CallbackResponse", "EventResponse", "Ready", "SpoolHealth"):
        assert schemas[name]["required"] == list(schemas[name]["properties"]), name


def test_every_example_fits_its_schema(indoors: Indoors) -> None:
    document = indoors.stranger.get("/openapi.json").json
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                for told in response["content"].values():
                    schema = {**told["schema"], "components": document["components"]}
                    shown = told["examples"].values() if "examples" in told else [{"value": told["example"]}]
                    for example in shown:
                        OAS31Validator(schema).validate(example["value"])
                    assert shown, (method, path, status)


def test_the_headers_that_come_are_told(indoors: Indoors) -> None:
    document = indoors.stranger.get("/openapi.json").json
    told = {
        (operation["operationId"], status): set(response["headers"])
        for operations in document["paths"].values()
        for operation in operations.values()
        for status, response in operation["responses"].items()
    }
    indoors.answers(Answer.error(429, retry_after_seconds=7))
    replayed = [indoors.start("v3:call-1", key="1") for _ in range(2)][1]
    indoors.answers()
    seen = {
        ("startSession", "201"): [indoors.start("v3:call-2", key="2") for _ in range(2)][1],
        ("startSession", "401"): indoors.stranger.post("/v1/sessions"),
        ("startSession", "503"): replayed,
        ("listEvents", "200"): indoors.client.get("/v1/events"),
        ("getHealth", "200"): indoors.stranger.get("/healthz"),
    }
    for place, answer in seen.items():
        assert int(place[1]) == answer.status_code, place
        ours = {name for name in document["components"]["headers"] if name in answer.headers}
        assert ours | {"Ledger-Spool-Age", "Idempotency-Replayed"} >= told[place] >= ours, place
    assert {"Location", "Idempotency-Replayed"} <= told["startSession", "202"]
    assert "Retry-After" in told["startSession", "409"]
    assert "Retry-After" not in told["stopSession", "409"] | told["getReadiness", "503"]
    assert all("Ledger-Spool-Age" in headers for (id, _), headers in told.items() if "Session" in id)


def test_it_names_where_apps_reach_us(indoors: Indoors) -> None:
    assert indoors.stranger.get("/openapi.json").json["servers"] == [{"url": PUBLIC_URL}]
