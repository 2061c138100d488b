"""The OpenAPI 3.1 document, from the very models that validate."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version
from inspect import getdoc
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema
from werkzeug.routing import Rule

import service
from service.web import openapi_answers
from service.web.operation import Operation, declared
from service.web.problems import ProblemDocument

REF = "#/components/schemas/{model}"


class Schemas(GenerateJsonSchema):
    """Tells no defaults: openapi-typescript takes a field that has one for a field that has to be sent."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def document(app: Flask, url: str) -> dict[str, Any]:
    """OpenAPI 3.1 of every route that declares an operation; `url` is where apps reach them."""
    paths: dict[str, dict[str, Any]] = {}
    used: list[tuple[type[BaseModel], JsonSchemaMode]] = [(ProblemDocument, "serialization")]
    routes = [
        (rule, view)
        for rule in app.url_map.iter_rules()
        if (view := app.view_functions[rule.endpoint]) in declared
    ]
    for _, view in routes:
        operation = declared[view]
        used += [(model, "serialization") for model in operation.answers.values()]
        used += [(model, "serialization") for model in operation.alternatives.values()]
        used += [(operation.query, "validation")] if operation.query else []
        used += [(operation.body, "validation")] if operation.body else []
    names, schemas = models_json_schema(list(dict.fromkeys(used)), ref_template=REF, schema_generator=Schemas)
    for rule, view in routes:
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        method = next(m for m in sorted(rule.methods or ()) if m not in {"HEAD", "OPTIONS"}).lower()
        paths.setdefault(path, {})[method] = _operation(rule, view, names, schemas["$defs"])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "siprec-ledger",
            "version": version("siprec-ledger"),
            "description": service.__doc__,
        },
        "servers": [{"url": url}],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "headers": openapi_answers.components(),
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(rule: Rule, view: Callable[..., Any], names: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    operation = declared[view]
    needs_key = operation.scope is not None
    made: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": _description(view, operation),
        "tags": [rule.endpoint.partition(".")[0]],
        "parameters": [*_path_parameters(rule), *_query_parameters(operation, schemas), *_headers(operation)],
        "responses": openapi_answers.responses(operation, names, needs_key=needs_key),
    }
    if needs_key:
        made["security"] = [{"apiKey": []}]
    if operation.body:
        content = {"application/json": {"schema": names[operation.body, "validation"]}}
        made["requestBody"] = {"required": operation.body_is_required, "content": content}
    return made


def _description(view: Callable[..., Any], operation: Operation) -> str:
    needed = operation.scope and f"The API key needs the scope `{operation.scope}`."
    return "\n\n".join(filter(None, [getdoc(view), needed]))


def _path_parameters(rule: Rule) -> list[dict[str, Any]]:
    parameter = {
        "in": "path",
        "required": True,
        "description": "as in `Location` and `id`",
        "schema": {"type": "string", "format": "uuid"},
    }
    return [{"name": name, **parameter} for name in sorted(rule.arguments)]


def _query_parameters(operation: Operation, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    model = schemas.get(operation.query.__name__, {}) if operation.query else {}
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.get("description", ""),
            "schema": _without_null(schema),
        }
        for name, schema in model.get("properties", {}).items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """In a query there is no null: what is not set is left out."""
    shown = {name: value for name, value in schema.items() if name not in {"title", "description"}}
    choices = [choice for choice in shown.pop("anyOf", []) if choice != {"type": "null"}]
    return {**shown, **choices[0]} if len(choices) == 1 else shown


def _headers(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, **members}
        for name, members in operation.headers.items()
    ]
