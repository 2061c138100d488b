"""What the callback door refused, kept for a while: one mistyped key refuses everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select

from service.store.tables import rejected_delivery

MOST_KEPT = 10_000
LARGEST_BODY = 16 * 1024  # a callback has a few hundred bytes; more is cut


@dataclass(frozen=True)
class RejectedDelivery:
    """A refused delivery; `received_at` is UTC, `answered` the HTTP status it got."""

    delivery_id: str
    received_at: datetime
    answered: int
    reason: str
    method: str
    token: str | None
    query: bytes
    body: bytes
    headers: Mapping[str, str]


def keep(db: Connection, new: RejectedDelivery) -> None:
    """Keep it, and let go of the one that is MOST_KEPT older."""
    row = {
        "delivery_id": new.delivery_id,
        "received_at": new.received_at,
        "answered": new.answered,
        "reason": new.reason,
        "method": new.method,
        "token": _storable(new.token),
        "query": new.query[:LARGEST_BODY],
        "body": new.body[:LARGEST_BODY],
        "headers": dict(new.headers),
        "size": len(new.query) + len(new.body),
    }
    sequence = db.execute(
        insert(rejected_delivery).returning(rejected_delivery.c.sequence), [row]
    ).scalar_one()
    db.execute(delete(rejected_delivery).where(rejected_delivery.c.sequence <= sequence - MOST_KEPT))


def _storable(token: str | None) -> str | None:
    """The token comes from a URL that anybody may write; PostgreSQL takes no NUL."""
    return token and token.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def count(db: Connection) -> int:
    return db.execute(select(func.count()).select_from(rejected_delivery)).scalar_one()


def newest(db: Connection, limit: int) -> list[RejectedDelivery]:
    query = select(rejected_delivery).order_by(rejected_delivery.c.sequence.desc()).limit(limit)
    return [refusal for _, refusal in _read(db, query)]


def oldest(db: Connection, after: int, limit: int) -> list[tuple[int, RejectedDelivery]]:
    """Each with its place in the order, to go on from."""
    query = (
        select(rejected_delivery)
        .where(rejected_delivery.c.sequence > after)
        .order_by(rejected_delivery.c.sequence)
        .limit(limit)
    )
    return _read(db, query)


def let_go(db: Connection, place: int) -> None:
    db.execute(delete(rejected_delivery).where(rejected_delivery.c.sequence == place))


def _read(db: Connection, query: Select[Any]) -> list[tuple[int, RejectedDelivery]]:
    rows = [dict(row) for row in db.execute(query).mappings()]
    return [
        (
            row.pop("sequence"),
            RejectedDelivery(**{name: row[name] for name in _FIELDS}),
        )
        for row in rows
    ]


_ADD = insert(rejected_delivery).returning(rejected_delivery.c.sequence)
_FIELDS = [field.name for field in fields(RejectedDelivery)]
