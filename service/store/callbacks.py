"""Callbacks in the database: each kept once with its evidence, every further delivery counted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, insert, select, update

from service.siprec import Error, ErrorKind, News, Notice
from service.store.tables import callback, repeat

EVIDENCE = ("received_at", "method", "query", "body", "headers", "verified_by")
_FOLDED = ("id", "session_id", "digest", "received_at", "event", "happened_at")
_SIDS = ("account_sid", "call_sid", "siprec_sid")


@dataclass(frozen=True)
class Evidence:
    """One delivery as it came, and what proved it."""

    id: str
    received_at: datetime
    method: str
    query: bytes
    body: bytes
    headers: dict[str, str]
    verified_by: str


@dataclass(frozen=True)
class KeptCallback:
    """A callback as the ledger holds it: its first delivery, what it says, and how often it came."""

    id: str
    session_id: str | None
    evidence: Evidence
    notice: Notice
    event: str | None
    deliveries: int = 1
    problem: str | None = None
    contradiction: str | None = None


def of_sessions(db: Connection, session_ids: Collection[str]) -> list[KeptCallback]:
    """All callbacks of these sessions, oldest receipt first."""
    if not session_ids:
        return []
    return _read(db, callback.c.session_id.in_(session_ids))


def strays(db: Connection, digests: Collection[bytes]) -> list[KeptCallback]:
    """Callbacks that belong to no session, with one of these digests."""
    if not digests:
        return []
    return _read(db, callback.c.session_id.is_(None) & callback.c.digest.in_(digests))


def known_deliveries(db: Connection, ids: Collection[str]) -> set[str]:
    """Which of these deliveries are in the ledger already."""
    first = select(callback.c.id).where(callback.c.id.in_(ids))
    return set(db.scalars(first.union_all(select(repeat.c.id).where(repeat.c.id.in_(ids)))))


def keep(db: Connection, new: Sequence[KeptCallback]) -> None:
    if new:
        db.execute(insert(callback), [_row(one) for one in new])


def count(db: Connection, repeats: Sequence[tuple[str, Evidence]]) -> None:
    """Keep further deliveries: (the callback's id, the delivery)."""
    if not repeats:
        return
    rows = [{"id": came.id, "callback_id": of, **_evidence_values(came)} for of, came in repeats]
    db.execute(insert(repeat), rows)
    for of, _ in repeats:
        counted = update(callback).where(callback.c.id == of)
        db.execute(counted.values(deliveries=callback.c.deliveries + 1))


def note(db: Connection, callback_id: str, contradiction: str | None) -> None:
    db.execute(update(callback).where(callback.c.id == callback_id).values(contradiction=contradiction))


def move(db: Connection, moved: KeptCallback, session_id: str) -> None:
    """Hand a callback over to another session that does not hold the same one."""
    db.execute(update(callback).where(callback.c.id == moved.id).values(session_id=session_id))


def absorb(db: Connection, kept: KeptCallback, twin: KeptCallback) -> None:
    """Turn `twin`, the same callback under another session, into deliveries of `kept`."""
    row = {"id": twin.id, "callback_id": kept.id, **_evidence_values(twin.evidence)}
    db.execute(update(repeat).where(repeat.c.callback_id == twin.id).values(callback_id=kept.id))
    db.execute(delete(callback).where(callback.c.id == twin.id))
    db.execute(insert(repeat), [row])
    counted = update(callback).where(callback.c.id == kept.id)
    db.execute(counted.values(deliveries=callback.c.deliveries + twin.deliveries))


def _read(db: Connection, condition: ColumnElement[bool]) -> list[KeptCallback]:
    query = select(callback).where(condition).order_by(callback.c.received_at, callback.c.id)
    return [_kept(row) for row in db.execute(query).mappings()]


def _kept(row: RowMapping) -> KeptCallback:
    return KeptCallback(
        id=row["id"],
        session_id=row["session_id"],
        evidence=Evidence(row["id"], **{name: row[name] for name in EVIDENCE}),
        notice=_notice(row),
        event=row["event"],
        deliveries=row["deliveries"],
        problem=row["problem"],
        contradiction=row["contradiction"],
    )


def _notice(row: RowMapping) -> Notice:
    news = News.of_event(row["event"])
    return Notice(
        news=news,
        heard_at=row["received_at"],
        happened_at=row["happened_at"],
        digest=row["digest"],
        error=Error(ErrorKind.SIPREC_FAILED, detail=row["error"]) if news is News.FAILED else None,
        **{name: row[name] for name in _SIDS},
    )


def _evidence_values(came: Evidence) -> dict[str, Any]:
    return {name: getattr(came, name) for name in EVIDENCE}


def _row(one: KeptCallback) -> dict[str, Any]:
    said = one.notice
    return {
        "id": one.id,
        "session_id": one.session_id,
        "digest": said.digest,
        "deliveries": one.deliveries,
        **_evidence_values(one.evidence),
        "event": one.event,
        "happened_at": said.happened_at,
        **{name: getattr(said, name) for name in _SIDS},
        "error": said.error.detail if said.error else None,
        "problem": one.problem,
        "contradiction": one.contradiction,
    }
