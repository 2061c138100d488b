"""Callbacks in the database: each kept once with its evidence, every further delivery counted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    RowMapping,
    bindparam,
    delete,
    insert,
    literal,
    select,
    update,
)

from service.domain.session import Error, ErrorKind, Notice, NoticeKind
from service.domain.value import value
from service.store.batch import Batch, Lookup
from service.store.tables import callback, repeat

EVIDENCE = ("received_at", "method", "query", "body", "headers", "verified_by")


@value(frozen=True)
class Evidence:
    """One delivery as it came, and what proved it."""

    id: str
    received_at: datetime
    method: str
    query: bytes
    body: bytes
    headers: dict[str, str]
    verified_by: str


@value(frozen=True)
class StoredCallback:
    """A callback as the ledger holds it: its first delivery, what it says, and how often it came."""

    id: str
    session_id: str | None
    evidence: Evidence
    notice: Notice
    event: str | None
    deliveries: int = 1
    problem: str | None = None
    contradiction: str | None = None


@value(frozen=True)
class StoredNotice:
    """What folding needs of a callback; its evidence stays where it is."""

    id: str
    session_id: str | None
    notice: Notice
    deliveries: int = 1
    contradiction: str | None = None


def notices_of(db: Connection, session_ids: Collection[str]) -> Iterator[StoredNotice]:
    """All callbacks of these sessions, as far as folding needs them."""
    return map(_told, _OF_SESSIONS(db, session_ids))


def unmatched_notices(db: Connection, digests: Collection[bytes]) -> list[StoredNotice]:
    """Callbacks that belong to no session, with one of these digests."""
    if not digests:
        return []
    return [_told(row) for row in db.execute(_STRAYS, {"digests": list(digests)}).mappings()]


def of_sessions(db: Connection, session_ids: Collection[str]) -> list[StoredCallback]:
    """All callbacks of these sessions, oldest receipt first."""
    if not session_ids:
        return []
    return _read(db, callback.c.session_id.in_(session_ids))


def page(db: Connection, has_problem: bool | None, before: str | None, limit: int) -> list[StoredCallback]:
    """The newest first, by when they first came; `before` is the id of the last one already seen."""
    query = select(callback).order_by(callback.c.id.desc()).limit(limit)  # ids sort by time
    if has_problem is not None:
        is_clean = callback.c.problem.is_(None) & callback.c.contradiction.is_(None)
        query = query.where(~is_clean if has_problem else is_clean)
    if before is not None:
        query = query.where(callback.c.id < before)
    return [_kept(row) for row in db.execute(query).mappings()]


def known_deliveries(db: Connection, ids: Collection[str]) -> set[str]:
    """Which of these deliveries are in the ledger already."""
    return set(db.scalars(_KNOWN, {"wanted": list(ids)})) if ids else set()


def keep(batch: Batch, new: Sequence[StoredCallback]) -> None:
    batch.add(callback, [_row(one) for one in new])


def keep_repeats(batch: Batch, repeats: Sequence[tuple[str, Evidence]]) -> None:
    """Further deliveries: (the callback's id, the delivery)."""
    batch.add(repeat, [{"id": came.id, "callback_id": of, **_evidence_values(came)} for of, came in repeats])


def count(batch: Batch, deliveries: Mapping[str, int]) -> None:
    """How often callbacks have come by now, by their ids; the caller has locked their sessions."""
    batch.change(callback, [{"id": id, "deliveries": count} for id, count in deliveries.items()])


def note(batch: Batch, contradictions: Iterable[tuple[str, str | None]]) -> None:
    """What each of these callbacks says against its session: (its id, in words or None)."""
    batch.change(callback, [{"id": id, "contradiction": found} for id, found in contradictions])


def move(db: Connection, callback_id: str, session_id: str) -> None:
    """Hand a callback over to another session that does not hold the same one."""
    db.execute(update(callback).where(callback.c.id == callback_id).values(session_id=session_id))


def merge_duplicate(db: Connection, kept_id: str, twin_id: str) -> None:
    """Turn the twin, the same callback under another session, into deliveries of the one that is kept."""
    evidence = [callback.c[name] for name in EVIDENCE]
    twin = select(callback.c.id, literal(kept_id), *evidence).where(callback.c.id == twin_id)
    db.execute(update(repeat).where(repeat.c.callback_id == twin_id).values(callback_id=kept_id))
    db.execute(insert(repeat).from_select(["id", "callback_id", *EVIDENCE], twin))
    gone = delete(callback).where(callback.c.id == twin_id).returning(callback.c.deliveries)
    db.execute(_COUNT, [{"of": kept_id, "more": db.execute(gone).scalar_one()}])


def _told(row: Mapping[Any, Any]) -> StoredNotice:
    return StoredNotice(row["id"], row["session_id"], _notice(row), row["deliveries"], row["contradiction"])


def _read(db: Connection, condition: ColumnElement[bool]) -> list[StoredCallback]:
    query = select(callback).where(condition).order_by(callback.c.received_at, callback.c.id)
    return [_kept(row) for row in db.execute(query).mappings()]


def _kept(row: RowMapping) -> StoredCallback:
    return StoredCallback(
        id=row["id"],
        session_id=row["session_id"],
        evidence=Evidence(row["id"], **{name: row[name] for name in EVIDENCE}),
        notice=_notice(row),
        event=row["event"],
        deliveries=row["deliveries"],
        problem=row["problem"],
        contradiction=row["contradiction"],
    )


def _notice(row: Mapping[Any, Any]) -> Notice:
    kind = NoticeKind.of_event(row["event"])
    return Notice(
        kind=kind,
        received_at=row["received_at"],
        happened_at=row["happened_at"],
        digest=row["digest"],
        error=Error(ErrorKind.SIPREC_FAILED, detail=row["error"]) if kind is NoticeKind.FAILED else None,
        account_sid=row["account_sid"],
        call_sid=row["call_sid"],
        siprec_sid=row["siprec_sid"],
    )


# Made once: putting a statement together takes four times as long as running it.
_TOLD = (
    *("id", "session_id", "digest", "received_at", "event", "happened_at", "error"),
    *("deliveries", "contradiction", "account_sid", "call_sid", "siprec_sid"),
)
_OF_SESSIONS = Lookup(callback, _TOLD, by="session_id", order=("received_at", "id"))
_STRAYS = (
    select(*(callback.c[name] for name in _TOLD))
    .where(callback.c.session_id.is_(None), callback.c.digest.in_(bindparam("digests", expanding=True)))
    .order_by(callback.c.received_at, callback.c.id)
)
_WANTED: BindParameter[Any] = bindparam("wanted", expanding=True)
_KNOWN = (
    select(callback.c.id)
    .where(callback.c.id.in_(_WANTED))
    .union_all(select(repeat.c.id).where(repeat.c.id.in_(_WANTED)))
)
_COUNT = (
    update(callback)
    .where(callback.c.id == bindparam("of"))
    .values(deliveries=callback.c.deliveries + bindparam("more", type_=Integer))
)


def _evidence_values(came: Evidence) -> dict[str, Any]:
    return {
        "received_at": came.received_at,
        "method": came.method,
        "query": came.query,
        "body": came.body,
        "headers": came.headers,
        "verified_by": came.verified_by,
    }


def _row(one: StoredCallback) -> dict[str, Any]:
    said = one.notice
    return {
        "id": one.id,
        "session_id": one.session_id,
        "digest": said.digest,
        "deliveries": one.deliveries,
        **_evidence_values(one.evidence),
        "event": one.event,
        "happened_at": said.happened_at,
        "account_sid": said.account_sid,
        "call_sid": said.call_sid,
        "siprec_sid": said.siprec_sid,
        "error": said.error.detail if said.error else None,
        "problem": one.problem,
        "contradiction": one.contradiction,
    }
