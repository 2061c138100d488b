"""JSON that is the same text on every database: keys in order, nothing between, times in UTC."""

from __future__ import annotations

from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(order="sorted")


def canonical_json(value: Any) -> str:
    """Times become text as RFC 3339 has it, bytes base64."""
    return _ENCODER.encode(value).decode()


def read_json(text: str | bytes) -> Any:
    """Raises ValueError."""
    return msgspec.json.decode(text)
