"""Where the next page begins: opaque to apps, signed, and good only for the list it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
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


@dataclass(frozen=True)
class ListPages:
    """Of one list, with these filters. A place is what tells an entry from those before and behind it."""

    cursors: Cursors
    list_name: str
    filters: Filters

    def place(self, cursor: str | None) -> tuple[str, ...] | None:
        """Behind which a page begins; None: at the beginning of the list. Raises InvalidCursor."""
        return self.cursors.read(cursor, self.list_name, self.filters) if cursor else None

    def moment_and_id(self, cursor: str | None) -> tuple[datetime, str] | None:
        """The place, where it is these two. Raises InvalidCursor."""
        place = self.place(cursor)
        return None if place is None else (datetime.fromisoformat(place[0]), place[1])

    def after(self, *place: str) -> str:
        return self.cursors.after(place, self.list_name, self.filters)

    def first_of(
        self, found: Sequence[T], limit: int, place: Callable[[T], Sequence[str]]
    ) -> tuple[Sequence[T], str | None]:
        """What is shown of one more than `limit`; and the cursor of the next page, if there is more."""
        page = found[:limit]
        return page, self.after(*place(page[-1])) if len(found) > limit else None


def _list(name: str, filters: Filters) -> str:
    written = json.dumps([name, filters], sort_keys=True)  # as ASCII, lone surrogates and all
    return hashlib.sha256(written.encode()).hexdigest()[:16]
