"""The fields of a callback, as bytes: what makes two callbacks the same, and what is wrong with one."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from urllib.parse import unquote_to_bytes

Pairs = list[tuple[bytes, bytes]]

GARBLED = "\N{REPLACEMENT CHARACTER}"  # stands for bytes that are no text
_BROKEN = re.compile(rb"%(?![0-9A-Fa-f]{2})")


# Where an AccountSid is looked for before anything is known to be genuine, so that it costs a forger's
# reader little. All of its letters may be percent-encoded.
FIELDS_LOOKED_AT = 64
LONGEST_NAME = 3 * len("AccountSid")  # bytes
LONGEST_VALUE = 3 * 255


class Form:
    """What the fields of one callback say; a POST's are its body, a GET's its query.

    `pairs` are the fields in their order, percent-decoded, and `texts` the same as a database and a JSON
    document can hold them. What came beside them (`rest`) counts only where they are no clean form.
    """

    def __init__(self, source: bytes, rest: bytes) -> None:
        self._source, self._rest = source, rest
        parts = [part for part in source.split(b"&") if part]
        self.is_clean = bool(parts) and all(b"=" in part for part in parts) and not _BROKEN.search(source)
        named = (part.replace(b"+", b" ").partition(b"=") for part in parts)
        self.pairs: Pairs = [(_decode(name), _decode(value)) for name, _, value in named]
        self.texts = [(_readable(name), _readable(value)) for name, value in self.pairs]
        self._first = dict(reversed(self.texts))

    @classmethod
    def of(cls, method: str, query: bytes, body: bytes) -> Form:
        return cls(query, body) if method == "GET" else cls(body, query)

    @property
    def digest(self) -> bytes:
        """SHA-256 over what a repeat shares with the first delivery: never signature or headers."""
        parts = [b"form", *(part for pair in sorted(self.pairs) for part in pair)]
        if not self.is_clean:
            parts = [b"raw", self._source, self._rest]
        return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()

    def get(self, name: str) -> str | None:
        """The first field of that name."""
        return self._first.get(name)

    @property
    def problems(self) -> list[str]:
        found = [] if self.is_clean else ["not a clean form"]
        if any(GARBLED in part for pair in self.texts for part in pair):
            found.append("a field holds bytes that are no text")
        if len(self._first) == len(self.texts):
            return found
        counted = Counter(name for name, _ in self.texts)
        repeated = sorted(name for name, count in counted.items() if count > 1)
        return found + [f"{name[:64]} is repeated" for name in repeated[:8]]


def account_sid_of(source: bytes) -> str | None:
    """What `Form(source).get("AccountSid")` says, if it is among the first fields and of usual length."""
    for part in source.split(b"&", FIELDS_LOOKED_AT)[:FIELDS_LOOKED_AT]:
        name, _, value = part.replace(b"+", b" ").partition(b"=")
        if len(name) <= LONGEST_NAME and _readable(_decode(name)) == "AccountSid":
            return _readable(_decode(value)) if len(value) <= LONGEST_VALUE else None
    return None


def _decode(part: bytes) -> bytes:
    return unquote_to_bytes(part) if b"%" in part else part


def _readable(part: bytes) -> str:
    return part.decode("utf-8", "replace").replace("\0", GARBLED)
