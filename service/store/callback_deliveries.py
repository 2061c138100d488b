"""Every delivery of a callback: when it came, what vouches for it, and its bytes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from service.domain.value import value
from service.store.lookup import First
from service.store.tables import callback, callback_repeat

MOST_REPEATS: Final = 20  # of a callback that are shown


@value(frozen=True)
class Repeat:
    """A further delivery of a callback."""

    id: str
    callback_id: str
    received_at: datetime
    written_at: datetime
    method: str
    verified_by: str
    answered: int  # the HTTP status
    spooled_on: str | None  # the host on whose disk it waited


@value(frozen=True)
class Bytes:
    """What came, as it came; the headers are those worth keeping."""

    delivery_id: str
    received_at: datetime
    method: str
    query: bytes
    body: bytes
    headers: Mapping[str, str]
    verified_by: str
    answered: int
    spooled_on: str | None


def repeats(db: Connection, callback_ids: Collection[str]) -> dict[str, list[Repeat]]:
    """Of each of these callbacks the first MOST_REPEATS further deliveries, in the order of their ids."""
    found: dict[str, list[Repeat]] = {}
    for row in _FIRST(db, callback_ids) if callback_ids else ():
        found.setdefault(row["callback_id"], []).append(Repeat(**row))
    return found


def raw(db: Connection, session_id: str, callback_id: str) -> list[Bytes]:
    """Of a callback of this session: its first delivery, and MOST_REPEATS others. Empty: no such one."""
    first = db.execute(_CALLBACK, {"id": callback_id, "session_id": session_id}).mappings().one_or_none()
    if first is None:
        return []
    rows = db.execute(_REPEATS, {"id": callback_id, "most": MOST_REPEATS}).mappings()
    return [_bytes(first, first), *(_bytes(row, first) for row in rows)]


def _bytes(row: Mapping[Any, Any], first: Mapping[Any, Any]) -> Bytes:
    """Where a repeat holds none of its own, they are the first one's."""
    return Bytes(
        delivery_id=row["id"],
        received_at=row["received_at"],
        method=row["method"],
        query=first["query"] if row["query"] is None else row["query"],
        body=first["body"] if row["body"] is None else row["body"],
        headers=row["headers"],
        verified_by=row["verified_by"],
        answered=row["answered"],
        spooled_on=row["spooled_on"],
    )


_NAMES: Final = (
    *("id", "callback_id", "received_at", "written_at", "method", "verified_by", "answered", "spooled_on"),
)
_FIRST = First(callback_repeat, _NAMES, by="callback_id", order=("id",), most=MOST_REPEATS)
_CALLBACK = select(callback).where(
    callback.c.id == bindparam("id"), callback.c.session_id == bindparam("session_id")
)
_REPEATS = (
    select(callback_repeat)
    .where(callback_repeat.c.callback_id == bindparam("id"))
    .order_by(callback_repeat.c.id)
    .limit(bindparam("most"))
)
