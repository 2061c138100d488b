"""What the callback endpoint rejected, kept for a while: one mistyped key rejects everything."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, delete, func, insert, select

from service.store.tables import rejected_delivery

# Of each reason: the first and the last ones, and between them the first of every hour.
OLDEST: Final = 1_000
NEWEST: Final = 4_000
LARGEST_IN_ALL: Final = 256 * 1024 * 1024  # bytes of queries and bodies
LARGEST_AT_ONCE: Final = 2_000  # that are looked for at a time, where there is too much in all

_row = rejected_delivery.c


@dataclass(frozen=True)
class RejectedDelivery:
    """A rejected delivery; `received_at` is UTC, `answered` the HTTP status it got.

    Nothing vouches for the account and the call that it names.
    """

    delivery_id: str
    received_at: datetime
    answered: int
    reason: str
    peer: str | None
    method: str
    token: str | None
    query: bytes
    body: bytes
    headers: Mapping[str, str]
    account_sid: str | None = None
    call_sid: str | None = None

    @property
    def size(self) -> int:
        return len(self.query) + len(self.body)


_FIELDS: Final = [field.name for field in fields(RejectedDelivery)]


def add(db: Connection, new: Sequence[RejectedDelivery]) -> None:
    rows = [
        {**asdict(one), "headers": dict(one.headers), "token": _storable(one.token), "size": one.size}
        for one in new
    ]
    db.execute(insert(rejected_delivery), rows)


def _storable(token: str | None) -> str | None:
    """The token comes from a URL that anybody may write; PostgreSQL takes no NUL."""
    return token and token.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def count(db: Connection) -> int:
    return db.execute(select(func.count()).select_from(rejected_delivery)).scalar_one()


def surplus(db: Connection, reason: str) -> list[int]:
    """The sequences of those of this reason that need not be kept."""
    its = _row.reason == reason
    kept_below = _nth(db, select(_row.sequence).where(its).order_by(_row.sequence), OLDEST)
    kept_above = _nth(db, select(_row.sequence).where(its).order_by(_row.sequence.desc()), NEWEST)
    if kept_below is None or kept_above is None:
        return []
    between = select(_row.sequence, _row.received_at).where(
        its, _row.sequence > kept_below, _row.sequence < kept_above
    )
    hours: set[datetime] = set()
    found = []
    for sequence, received_at in db.execute(between.order_by(_row.sequence)):
        hour = received_at.replace(minute=0, second=0, microsecond=0)
        if hour in hours:
            found.append(sequence)
        hours.add(hour)
    return found


def _nth(db: Connection, query: Select[Any], n: int) -> int | None:
    sequence: int | None = db.execute(query.offset(n - 1).limit(1)).scalar()
    return sequence


def oversize(db: Connection) -> list[int]:
    """The sequences of the largest ones, as many as have to go for what is left to be small enough."""
    excess = (db.execute(select(func.sum(_row.size))).scalar() or 0) - LARGEST_IN_ALL
    found: list[int] = []
    if excess > 0:
        largest = select(_row.sequence, _row.size).order_by(_row.size.desc(), _row.sequence)
        for sequence, size in db.execute(largest.limit(LARGEST_AT_ONCE)):
            if excess <= 0:
                break
            found.append(sequence)
            excess -= size
    return found


def delete_all(db: Connection, sequences: Collection[int]) -> None:
    db.execute(delete(rejected_delivery).where(_row.sequence.in_(sequences)))


def newest(db: Connection, limit: int) -> list[RejectedDelivery]:
    query = select(rejected_delivery).order_by(_row.sequence.desc()).limit(limit)
    return [rejected for _, rejected in _read(db, query)]


def oldest(db: Connection, after: int, limit: int) -> list[tuple[int, RejectedDelivery]]:
    """Each with its sequence, to go on from."""
    query = select(rejected_delivery).where(_row.sequence > after).order_by(_row.sequence).limit(limit)
    return list(_read(db, query))


def _read(db: Connection, query: Select[Any]) -> Iterator[tuple[int, RejectedDelivery]]:
    for row in db.execute(query).mappings():
        yield row["sequence"], RejectedDelivery(**{name: row[name] for name in _FIELDS})
