"""Where the next page begins: opaque to apps, signed, and good only for the list it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypeVar

from itsdangerous import BadData, URLSafeSerializer

T = TypeVar("T")
Filters = Mapping[str, object]  # as JSON can hold them


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

    def after(self, place: Sequence[str], list_name: str, filters: Filters) -> str:
        """For the page that follows `place` in that list.

        `filters` are those that are set, by name: one that a later release adds changes no cursor in use.
        """
        return str(self._serializer.dumps([_list(list_name, filters), *place]))

    def read(self, cursor: str, list_name: str, filters: Filters) -> tuple[str, ...]:
        """The place that `after` was given. Raises InvalidCursor."""
        try:
            of_list, *place = self._serializer.loads(cursor)
        except (BadData, UnicodeError, ValueError, TypeError) as error:
            raise InvalidCursor from error
        if of_list != _list(list_name, filters):
            raise InvalidCursor
        return tuple(place)


def first_of(found: Sequence[T], limit: int) -> tuple[Sequence[T], T | None]:
    """What is shown of one more than `limit`; and the last of it, where there is more to come."""
    page = found[:limit]
    return page, page[-1] if len(found) > limit else None


def _list(name: str, filters: Filters) -> str:
    written = json.dumps([name, filters], sort_keys=True)  # as ASCII, lone surrogates and all
    return hashlib.sha256(written.encode()).hexdigest()[:16]
