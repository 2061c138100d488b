"""Checks what the sandbox is given from outside, and says in one line what is wrong with it."""

import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainValidator, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

T = TypeVar("T")

# Instead of pydantic's own, for whoever does not know Python.
WORDS = {
    "bool_type": "must be true or false",
    "dataclass_type": "must be a JSON object",
    "frozen_set_type": "must be a list of texts",
    "int_from_float": "must be a whole number",
    "literal_error": "must be one of {expected}",
    "missing": "must be text",
    "string_too_short": "must not be empty",
    "string_type": "must be text",
    "value_error": "{error}",  # what a validator of our own says
}


class Invalid(ValueError):
    """Not what was asked for; the message names the member and what is wrong with it."""

    def __init__(self, message: str, member: str) -> None:
        super().__init__(message)
        self.member = member  # the first that is wrong; "" is the whole


def read(kind: type[T], document: object) -> T:
    """`document` as a `kind`. Raises Invalid."""
    try:
        return TypeAdapter(kind).validate_python(document)
    except ValidationError as bad:
        errors = bad.errors()
        raise Invalid("; ".join(_sentence(each) for each in errors), _path(errors[0])) from bad


def number(least: float, most: float) -> BeforeValidator:
    """Lets finite numbers from `least` to `most` through: neither texts nor booleans."""

    def check(value: object) -> object:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and least <= value <= most:  # type: ignore[operator]  # NaN is no more than anything
            return value
        raise ValueError(f"must be a number from {least:g} to {most:g}")

    return BeforeValidator(check)


def _check_replacements(value: Any) -> dict[str, str | None]:
    if isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(new, str | None) for name, new in value.items()
    ):
        return dict(value)
    raise ValueError("must be an object of texts")


# Fields to add or to replace, by name; None removes one. Not pydantic's own, which would refuse the lone
# surrogates that stand for broken encodings.
Replacements = Annotated[Mapping[str, str | None], PlainValidator(_check_replacements)]


def _path(error: ErrorDetails) -> str:
    return ".".join(part for part in error["loc"] if isinstance(part, str))


def _sentence(error: ErrorDetails) -> str:
    path, kind, context = _path(error), error["type"], error.get("ctx", {})
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{path}: no such member"
    if kind == "members":  # of several: the message begins with the name of one
        return f"{path}.{error['msg']}".lstrip(".")
    words = WORDS.get(kind, error["msg"]).format(**context).replace("'", "")
    return f"{path} {words}, not {reprlib.repr(error['input'])}".lstrip()
