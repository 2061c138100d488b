"""What the callback door refused, kept for a while: one mistyped key refuses everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select

from service.store.tables import refused

MOST_KEPT = 10_000
LARGEST_BODY = 16 * 1024  # a callback has a few hundred bytes; more is cut


@dataclass(frozen=True)
class Refusal:
    """A refused delivery; `received_at` is UTC, `answered` the HTTP status it got."""

    received_at: datetime
    answered: int
    reason: str
    method: str
    token: str | None
    query: bytes
    body: bytes
    headers: Mapping[str, str]


def keep(db: Connection, new: Refusal) -> None:
    """Keep it, and let go of the one that is MOST_KEPT older."""
    row = {
        "received_at": new.received_at,
        "answered": new.answered,
        "reason": new.reason,
        "method": new.method,
        "token": _storable(new.token),
        "query": new.query[:LARGEST_BODY],
        "body": new.body[:LARGEST_BODY],
        "headers": dict(new.headers),
    }
    sequence = db.execute(insert(refused).returning(refused.c.sequence), [row]).scalar_one()
    db.execute(delete(refused).where(refused.c.sequence <= sequence - MOST_KEPT))


def _storable(token: str | None) -> str | None:
    """The token comes from a URL that anybody may write; PostgreSQL takes no NUL."""
    return token and token.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def count(db: Connection) -> int:
    return db.execute(select(func.count()).select_from(refused)).scalar_one()


def newest(db: Connection, limit: int) -> list[Refusal]:
    query = select(refused).order_by(refused.c.sequence.desc()).limit(limit)
    rows = db.execute(query).mappings()
    return [Refusal(**{name: value for name, value in row.items() if name != "sequence"}) for row in rows]
