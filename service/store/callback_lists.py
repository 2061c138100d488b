"""Callbacks are listed, with their evidence."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, RowMapping, literal, select, text, tuple_

from service.domain.access import Accounts
from service.domain.callback import Callback, Delivery
from service.domain.value import value
from service.store.accounts import sees_callback
from service.store.callbacks import notice
from service.store.tables import HAS_PROBLEM, callback

MOST_SCANNED = 5000


@value(frozen=True)
class StoredCallback:
    """A callback as the ledger holds it: its first written delivery, what it says, how often it came."""

    callback: Callback
    last_received_at: datetime
    deliveries: int
    contradiction: str | None


def of_session(
    db: Connection, session_id: str, after: tuple[datetime, str] | None, limit: int
) -> list[StoredCallback]:
    """In the order in which they were received; `after` is (received_at, id) of the last one already seen."""
    # Not the id itself: of a session with many, PostgreSQL would search the whole ledger in order of receipt.
    wanted = select(literal(session_id)).scalar_subquery()
    query = select(callback).where(callback.c.session_id == wanted)
    if after is not None:
        query = query.where(tuple_(callback.c.received_at, callback.c.id) > after)
    query = query.order_by(callback.c.received_at, callback.c.id).limit(limit)
    return [_stored(row) for row in db.execute(query).mappings()]


def problems(db: Connection, session_id: str, limit: int) -> list[tuple[datetime, str]]:
    """When callbacks of a session came in which something is wrong, and what it is; the earliest first."""
    wanted = select(literal(session_id)).scalar_subquery()  # as above
    columns = (callback.c.received_at, callback.c.problem, callback.c.contradiction)
    query = select(*columns).where(callback.c.session_id == wanted, _has_problem(wanted=True))
    query = query.order_by(callback.c.received_at, callback.c.id).limit(limit)
    return [(at, "; ".join(filter(None, words))) for at, *words in db.execute(query)]


def page(
    db: Connection, has_problem: bool | None, accounts: Accounts, before: str | None, limit: int
) -> tuple[list[StoredCallback], str | None]:
    """The newest first, by id: by when the delivery came that was written first.

    `before` is what the page before gave beside its callbacks: None, if it was the last one. Where
    `accounts` limit what is seen, no more than MOST_SCANNED are looked at, for a page or for less than one.
    """
    query = select(callback).order_by(callback.c.id.desc())  # ids sort by time
    if has_problem is not None:
        query = query.where(_has_problem(wanted=has_problem))
    if before is not None:
        query = query.where(callback.c.id < before)
    end = None
    if accounts is not None:
        end = db.scalar(query.with_only_columns(callback.c.id).offset(MOST_SCANNED - 1).limit(1))
        query = query.where(sees_callback(accounts))
    if end is not None:
        query = query.where(callback.c.id >= end)
    found = [_stored(row) for row in db.execute(query.limit(limit + 1)).mappings()]
    if len(found) > limit:
        return found[:limit], found[limit - 1].callback.delivery.id
    return found, end


def _has_problem(*, wanted: bool) -> ColumnElement[bool]:
    # The very words of the index's condition, or SQLite does not use it.
    return text(f"({HAS_PROBLEM})" if wanted else "problem IS NULL AND contradiction IS NULL")  # type: ignore[return-value]


def _stored(row: RowMapping) -> StoredCallback:
    delivery = Delivery(
        id=row["id"],
        received_at=row["received_at"],
        method=row["method"],
        token=None,
        query=row["query"],
        headers=row["headers"],
        body=row["body"],
        answered=row["answered"],
        spooled_on=row["spooled_on"],
    )
    said = Callback(
        delivery, row["session_id"], row["verified_by"], row["event"], notice(row), row["problem"]
    )
    return StoredCallback(said, row["last_received_at"], row["deliveries"], row["contradiction"])
