"""Where the next page begins: opaque to apps, signed, and good only for the list it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from itsdangerous import BadData, URLSafeSerializer

from service.siprec import Session
from service.store.sessions import Filter


class StrangeCursor(Exception):
    """Not a cursor of ours, or one of another list."""


class Cursors:
    """Signs with the first of `secrets`, and reads those of all of them."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._serializer = URLSafeSerializer(
            list(reversed(secrets)),
            salt="page-cursor",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def after(self, last: Session, wanted: Filter) -> str:
        """For the page that follows `last`."""
        return str(self._serializer.dumps([last.requested_at.isoformat(), last.id, _list(wanted)]))

    def read(self, cursor: str, wanted: Filter) -> tuple[datetime, str]:
        """(requested_at, id) of the last session on the page before. Raises StrangeCursor."""
        try:
            requested_at, session_id, listed = self._serializer.loads(cursor)
        except (BadData, UnicodeError, ValueError, TypeError) as trouble:
            raise StrangeCursor from trouble
        if listed != _list(wanted):
            raise StrangeCursor
        return datetime.fromisoformat(requested_at), session_id


def _list(wanted: Filter) -> str:
    return hashlib.sha256(repr(wanted).encode("utf-8", "surrogatepass")).hexdigest()[:16]
