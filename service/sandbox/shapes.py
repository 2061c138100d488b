"""The JSON shape of what the sandbox shows: its behaviours, requests, deliveries and sessions."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any


def shape(value: Any) -> Any:
    """`value` as JSON can say it: times in ISO 8601, sets as sorted lists, bytes as text."""
    if is_dataclass(value):
        return {each.name: shape(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): shape(each) for name, each in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [shape(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return value
