"""One declaration per route: it validates what comes in, and `openapi` documents it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import wraps
from typing import Any, Final, TypeVar

from flask import Response, request
from pydantic import BaseModel, ValidationError

from service.domain.access import Scope
from service.web.problems import Problem, WrongField, wrong_field
from service.web.requests import Empty

BODY_PROBLEMS: Final = ("invalid-json", "too-large", "not-json")

M = TypeVar("M", bound=BaseModel)

View = Callable[..., "Answer"]


@dataclass(frozen=True)
class Answer:
    """What a view gives back; `body` may be its JSON already."""

    body: BaseModel | str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"

    def response(self) -> Response:
        text = self.body if isinstance(self.body, str) else self.body.model_dump_json(by_alias=True)
        # A type with parameters stays as it is.
        return Response(text, self.status, dict(self.headers), content_type=self.media_type)


@dataclass(frozen=True)
class Operation:
    """Decorates a view, which gets `body` and `query` as instances of their models, where it declares them.

    `id` is the method's name in clients that are made from the document: it never changes. `scope` is what a
    key needs here, where one is needed at all: `auth.api_key` lets in nobody without it. `problems` are the
    names of those that only some routes have, besides BODY_PROBLEMS. A query of None is not looked at.
    """

    id: str
    summary: str
    _: KW_ONLY
    answers: Mapping[int, type[BaseModel]]
    scope: Scope | None = None
    problems: tuple[str, ...] = ()
    body: type[BaseModel] | None = None
    body_is_required: bool = True
    query: type[BaseModel] | None = Empty
    # That it reads, by name, with what else the document says of them.
    headers: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    # Of openapi_answers.HEADERS, what its answers carry besides those that every route's do.
    answer_headers: tuple[str, ...] = ()
    # What it answers with 200 to who prefers another media type than application/json.
    alternatives: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    # What it answers with 200 as a file, to who prefers it: an example of each media type.
    files: Mapping[str, str] = field(default_factory=dict)
    # What it answers with 200 that is text and no JSON: its media types.
    texts: tuple[str, ...] = ()

    def __call__(self, view: View) -> Callable[..., Response]:
        @wraps(view)
        def serve(**arguments: Any) -> Response:
            # An unknown parameter is refused everywhere else.
            query = _read_query(self.query) if self.query else None
            if self.query not in {None, Empty}:
                arguments["query"] = query
            if self.body is not None:
                arguments["body"] = _read_body(self.body, is_required=self.body_is_required)
            return view(**arguments).response()

        declared[serve] = self
        return serve

    @property
    def all_problems(self) -> tuple[str, ...]:
        """Those of every body too, where it has one."""
        return self.problems if self.body is None else (*BODY_PROBLEMS, *self.problems)


operation = Operation  # as a decorator
# View function -> what it declares, for the API documents.
declared: dict[Callable[..., Any], Operation] = {}


def _read_body(model: type[M], *, is_required: bool) -> M:
    raw = request.get_data()
    if not raw and not is_required:
        return model()
    if not request.is_json:
        raise Problem("not-json", "Send Content-Type: application/json")
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        raise Problem("invalid-json", found[0]["msg"])
    raise Problem("invalid-request", errors=[_wrong("body", one) for one in found])


def _read_query(model: type[M]) -> M:
    values_of = request.args.to_dict(flat=False)
    many = {name for name, info in model.model_fields.items() if info.default == ()}
    repeated = [name for name, values in values_of.items() if len(values) > 1 and name not in many]
    if repeated:
        errors = [wrong_field("query", f"/{_escaped(name)}", "to be given once") for name in repeated]
        raise Problem("invalid-request", errors=errors)
    try:
        return model.model_validate({n: tuple(v) if n in many else v[0] for n, v in values_of.items()})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise Problem("invalid-request", errors=[_wrong("query", one) for one in found]) from None


def _wrong(place: str, error: Mapping[str, Any]) -> WrongField:
    pointer = "".join(f"/{_escaped(str(part))}" for part in error["loc"] if part != "[key]")
    expected = {"extra_forbidden": "no such field", "missing": "this field is required"}
    detail = expected.get(error["type"], error["msg"].removeprefix("Value error, "))
    return wrong_field(place, pointer, detail)


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1").encode("utf-8", "replace").decode()[:256]
