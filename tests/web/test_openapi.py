"""The API document: valid, complete, and true."""

from __future__ import annotations

import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.web.problems import KINDS
from tests.web.indoors import Indoors

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
    assert [path for path in paths if not path.startswith("/v1/")] == ["/healthz", "/readyz"]
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
    told = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400 and (path, status) != ("/readyz", "503"):
                    assert response["content"] == told
                    titles = {kind.title for kind in KINDS.values() if kind.status == int(status)}
                    assert set(response["description"].split("; ")) <= titles
