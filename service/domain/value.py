"""Dataclasses that nobody changes, as the type checker sees to.

Frozen at run time they would take three times as long to make, and a callback makes twenty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

__all__ = ["value"]

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:

    def value(*, frozen: bool) -> Any:
        return dataclass(unsafe_hash=frozen)
