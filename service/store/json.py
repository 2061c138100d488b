"""JSON that is the same text on every database."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def canonical_encoder(plain: Callable[[Any], Any] | None = None) -> json.JSONEncoder:
    """Made once, since making it takes longer than using it; `plain` is for what JSON does not know."""
    return json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=plain)


_CANONICAL = canonical_encoder()


def canonical_json(value: Any) -> str:
    return _CANONICAL.encode(value)
