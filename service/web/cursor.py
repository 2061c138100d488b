"""Where the next page begins: opaque to apps, signed, and good only for the list it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from itsdangerous import BadData, URLSafeSerializer


class InvalidCursor(Exception):
    """Not a cursor of ours, or one of another list."""


class Cursors:
    """Signs with the first of `secrets`, and reads those of all of them."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._serializer = URLSafeSerializer(
            list(reversed(secrets)),
            salt="page-cursor",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def after(self, place: tuple[str, ...], wanted: object) -> str:
        """For the page that follows `place` in the list of all that is `wanted`."""
        return str(self._serializer.dumps([_list(wanted), *place]))

    def read(self, cursor: str, wanted: object) -> tuple[str, ...]:
        """The place that `after` was given. Raises InvalidCursor."""
        try:
            listed, *place = self._serializer.loads(cursor)
        except (BadData, UnicodeError, ValueError, TypeError) as trouble:
            raise InvalidCursor from trouble
        if listed != _list(wanted):
            raise InvalidCursor
        return tuple(place)


def _list(wanted: object) -> str:
    return hashlib.sha256(repr(wanted).encode("utf-8", "surrogatepass")).hexdigest()[:16]
