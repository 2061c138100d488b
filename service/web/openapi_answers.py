"""What the OpenAPI document says of answers: what they mean, their headers, and an example of each."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from service.web import alert_examples, examples, key_examples, report_examples
from service.web.operation import Operation
from service.web.problem_examples import PROBLEMS
from service.web.problems import KINDS, Problem, ProblemDocument

ANSWERS: Final = {
    **examples.ANSWERS,
    **key_examples.ANSWERS,
    **alert_examples.ANSWERS,
    **report_examples.ANSWERS,
}
REQUEST_ID: Final = "ffc6ce04-a573-4aef-a703-4b5b18478553"
# What every route of /v1 may answer, besides what it declares.
EVERYWHERE: Final = (
    "key-missing",
    "key-unknown",
    "scope-missing",
    "invalid-request",
    "database-unavailable",
    "database-busy",
    "busy",
)
HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "X-Request-Id": {
        "description": "as it was sent, or else made by us; our log has it too",
        "schema": {"type": "string"},
    },
    "Location": {"description": "the path of the session", "schema": {"type": "string"}},
    "Idempotency-Replayed": {
        "description": "true: an earlier request with this Idempotency-Key is answered again; else left out",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Ledger-Spool-Age": {
        "description": "for how many seconds the oldest callback has waited that is not yet shown; "
        "left out where none waits",
        "schema": {"type": "number", "minimum": 0},
    },
    "Ledger-Next": {
        "description": "the cursor after the last event that was looked at",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "ask again after so many seconds",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"description": "how to send the key", "schema": {"type": "string"}},
}


def components() -> dict[str, Any]:
    return {name: dict(header) for name, header in HEADERS.items()}


def responses(operation: Operation, names: Any, *, needs_key: bool) -> dict[str, Any]:
    """By status; `names` leads from a model to its schema."""
    made: dict[str, Any] = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "headers": _headers(operation, status, [], needs_key=needs_key),
            "content": {
                "application/json": {
                    "schema": names[model, "serialization"],
                    "example": ANSWERS.get((operation.id, status), {}),
                }
            },
        }
        for status, model in operation.answers.items()
    }
    for media_type, model in operation.alternatives.items():
        made["200"]["content"][media_type] = {
            "schema": names[model, "serialization"],
            "example": examples.ALTERNATIVES[operation.id, media_type],
        }
    for media_type, example in operation.files.items():
        made["200"]["content"][media_type] = {"schema": {"type": "string"}, "example": example}
    if operation.texts:
        made["200"] = {
            "description": HTTPStatus.OK.phrase,
            "headers": _headers(operation, HTTPStatus.OK, [], needs_key=False),
            "content": {
                media_type: {"schema": {"type": "string"}, "example": examples.TEXTS[operation.id]}
                for media_type in operation.texts
            },
        }
    for status, problems in _by_status([*operation.all_problems, *(EVERYWHERE if needs_key else ())]).items():
        made[str(status)] = {
            "description": "; ".join(KINDS[name].title for name in problems),
            "headers": _headers(operation, status, problems, needs_key=needs_key),
            "content": {
                "application/problem+json": {
                    "schema": names[ProblemDocument, "serialization"],
                    "examples": {name: _example(name) for name in problems},
                }
            },
        }
    return made


def _by_status(problems: list[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name in sorted(problems, key=lambda name: KINDS[name].status):
        found.setdefault(KINDS[name].status, []).append(name)
    return found


def _example(name: str) -> dict[str, Any]:
    problem = PROBLEMS.get(name) or Problem(name)  # of some there is no more to say
    return {"summary": KINDS[name].title, "value": problem.document(REQUEST_ID)}


def _headers(operation: Operation, status: int, problems: list[str], *, needs_key: bool) -> dict[str, Any]:
    names = ["X-Request-Id"]
    # A start that Telnyx refused has its session too.
    if status in operation.answers or any(name.startswith("telnyx-") for name in problems):
        names += operation.answer_headers
    if needs_key:
        names.append("Ledger-Spool-Age")
    if problems and (status == HTTPStatus.SERVICE_UNAVAILABLE or "still-starting" in problems):
        names.append("Retry-After")
    if status == HTTPStatus.UNAUTHORIZED:
        names.append("WWW-Authenticate")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
