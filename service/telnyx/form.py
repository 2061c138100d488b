"""The fields of a callback, as bytes: what makes two callbacks the same, and what is wrong with one."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote_to_bytes

Pairs = list[tuple[bytes, bytes]]

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Form:
    """`source` is what holds the fields: a POST's body, a GET's query."""

    source: bytes
    rest: bytes  # what came along, and counts only where the source is no clean form

    @classmethod
    def of(cls, method: str, query: bytes, body: bytes) -> Form:
        return cls(query, body) if method == "GET" else cls(body, query)

    @cached_property
    def pairs(self) -> Pairs:
        """The fields in their order, percent-decoded."""
        parts = (part.partition(b"=") for part in self.source.split(b"&") if part)
        return [(_decode(name), _decode(value)) for name, _, value in parts]

    @cached_property
    def is_clean(self) -> bool:
        parts = [part for part in self.source.split(b"&") if part]
        return bool(parts) and all(b"=" in part for part in parts) and not _BROKEN_ESCAPE.search(self.source)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over what a repeat shares with the first delivery: never signature or headers."""
        said = [b"form", *(part for pair in sorted(self.pairs) for part in pair)]
        if not self.is_clean:
            said = [b"raw", self.source, self.rest]
        return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in said)).digest()

    @cached_property
    def texts(self) -> list[tuple[str, str]]:
        """The fields as text that a database and a JSON document can hold."""
        return [(_readable(name), _readable(value)) for name, value in self.pairs]

    def get(self, name: str) -> str | None:
        """The first field of that name."""
        return next((value for key, value in self.texts if key == name), None)

    @property
    def problems(self) -> list[str]:
        found = [] if self.is_clean else ["not a clean form"]
        if any(_is_garbled(part) for pair in self.pairs for part in pair):
            found.append("a field holds bytes that are no text")
        repeated = sorted(
            name for name, count in Counter(name for name, _ in self.texts).items() if count > 1
        )
        return found + [f"{name[:64]} is repeated" for name in repeated[:8]]


def _decode(part: bytes) -> bytes:
    return unquote_to_bytes(part.replace(b"+", b" "))


def _readable(part: bytes) -> str:
    return part.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _is_garbled(part: bytes) -> bool:
    return "\N{REPLACEMENT CHARACTER}" in _readable(part)
