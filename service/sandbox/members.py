"""Reads the members of a behaviour, whether they were written in Python or in JSON."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

Reader = Callable[[Any], object]

LONGEST_SECONDS = 86_400.0


class BadBehaviour(ValueError):
    """A behaviour nobody could play; the message names the member and what is wrong with it."""


class BadMember(ValueError):
    """A value that a member cannot have; the message goes on after the name of the member."""


def read_members(value: Any) -> None:
    """Check and convert every member of the frozen dataclass `value`, in place. Raises BadBehaviour.

    Each is annotated with its reader: `Annotated[float, seconds]`.
    """
    for name, annotation in get_type_hints(type(value), include_extras=True).items():
        read = annotation.__metadata__[0]
        try:
            member = read(getattr(value, name))
        except BadBehaviour as bad:
            raise BadBehaviour(f"{name}.{bad}") from bad
        except BadMember as bad:
            raise BadBehaviour(f"{name} {bad}") from bad
        object.__setattr__(value, name, member)  # it is frozen to everybody else


def named_members(kind: type[Any], document: object) -> dict[str, Any]:
    """The members of a JSON object, once each is known to `kind`. Raises BadBehaviour."""
    if not isinstance(document, Mapping):
        raise BadBehaviour(f"must be a JSON object, not {document!r}")
    known = [each.name for each in fields(kind)]
    unknown = sorted(str(name) for name in document if name not in known)
    if unknown:
        raise BadBehaviour(f"{', '.join(unknown)}: no such member; there are {', '.join(known)}")
    return dict(document)


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadMember(f"must be true or false, not {value!r}")
    return value


def text(value: object) -> str:
    if not isinstance(value, str):
        raise BadMember(f"must be text, not {value!r}")
    return value


def number(value: object, least: float, most: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not least <= float(value) <= most:  # type: ignore[arg-type]
        raise BadMember(f"must be a number from {least:g} to {most:g}, not {value!r}")
    return float(value)  # type: ignore[arg-type]


def seconds(value: object) -> float:
    return number(value, 0, LONGEST_SECONDS)


def skew(value: object) -> float:
    """Seconds in either direction: ten years, so that nonsense can be played too."""
    return number(value, -3.2e8, 3.2e8)


def whole(least: int, most: int) -> Reader:
    def read(value: object) -> int:
        if number(value, least, most) != (rounded := int(value)):  # type: ignore[call-overload]
            raise BadMember(f"must be a whole number, not {value!r}")
        return int(rounded)

    return read


def one_of(*choices: str) -> Reader:
    def read(value: object) -> str:
        if value not in choices:
            raise BadMember(f"must be one of {', '.join(choices)}, not {value!r}")
        return text(value)

    return read


def some_of(*choices: str) -> Reader:
    read_one = one_of(*choices)
    return lambda value: frozenset(read_one(each) for each in names(value))


def names(value: object) -> frozenset[str]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise BadMember(f"must be a list of texts, not {value!r}")
    return frozenset(text(each) for each in value)


def replacements(value: object) -> dict[str, str | None]:
    """Fields to add or to replace, by name; None removes one."""
    if not isinstance(value, Mapping):
        raise BadMember(f"must be an object of texts, not {value!r}")
    return {text(name): optional(text)(new) for name, new in value.items()}  # type: ignore[misc]


def optional(read: Reader) -> Reader:
    return lambda value: None if value is None else read(value)
