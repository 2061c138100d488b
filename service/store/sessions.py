"""Sessions are written, locked and found."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    or_,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite

from service.domain.access import Accounts
from service.domain.notice import Notice
from service.domain.session import LockedSession, Origin, Session
from service.store import session_rows, watched
from service.store.accounts import sees_session
from service.store.batch import Batch
from service.store.lookup import Lookup
from service.store.tables import api_key, session, session_attempt, session_label
from service.store.watch_tables import session_watch


@dataclass(frozen=True)
class IdempotencyKey:
    """Who asked for a session, and how the same request can be told from another."""

    api_key_id: str
    key: str | None = None
    request_digest: bytes | None = None


@dataclass(frozen=True)
class SidOwner:
    """A session and a (call_sid, siprec_sid) that it is known by."""

    id: str
    origin: Origin
    sids: tuple[str, str]


def insert(db: Connection, new: Session, key: IdempotencyKey) -> bool:
    """With its labels. False if the idempotency key is taken already."""
    values = {
        **session_rows.of_new(new),
        "api_key_id": key.api_key_id,
        "idempotency_key": key.key,
        "request_digest": key.request_digest,
    }
    if not _insert_or_ignore(db, values):
        return False
    labels = [
        {"session_id": new.id, "name": name, "value": value, "requested_at": new.requested_at}
        for name, value in new.order.labels.items()
    ]
    if labels:
        db.execute(session_label.insert(), labels)
    return True


def adopt(db: Connection, new: Session) -> str:
    """Write down a session that its callbacks told us of, unless it is there. The id of where it went."""
    _insert_or_ignore(db, session_rows.of_new(new))
    query = select(session.c.id, session.c.merged_into).where(
        text("origin = 'adopted'"),
        session.c.call_sid == new.order.call_sid,
        session.c.callback_siprec_sid == new.progress.callback_siprec_sid,
    )
    row = db.execute(query).one()
    return str(row.merged_into or row.id)


def add_attempt(db: Connection, session_id: str, number: int, actor: str | None, asked_at: datetime) -> None:
    values = {"session_id": session_id, "number": number, "actor": actor, "asked_at": asked_at}
    db.execute(session_attempt.insert().values(values))


def answer_attempt(db: Connection, session_id: str, number: int, answer: Notice) -> None:
    row = session_rows.of_answer(answer)
    values = {name.removeprefix("answer_"): value for name, value in row.items()}
    attempt = session_attempt.update().where(
        session_attempt.c.session_id == session_id, session_attempt.c.number == number
    )
    db.execute(attempt.values(**values, siprec_sid=answer.siprec_sid))


def save(batch: Batch, changed: Sequence[LockedSession], at: datetime) -> None:
    """Write all that can change of sessions; the caller has locked them."""
    batch.change(
        session, [{"id": one.id, "updated_at": at, **session_rows.of_changed(one)} for one in changed]
    )


def save_ingested(batch: Batch, changed: Sequence[LockedSession], at: datetime) -> None:
    """Write what callbacks, and wishes to stop, can change of sessions; the caller has locked them."""
    batch.change(
        session, [{"id": one.id, "updated_at": at, **session_rows.of_ingested(one)} for one in changed]
    )


def save_counts(batch: Batch, counted: Sequence[LockedSession]) -> None:
    """Write how many callbacks came, where that is all that has changed."""
    batch.change(
        session,
        [
            {"id": one.id, "callbacks": one.callbacks, "last_callback_at": one.last_callback_at}
            for one in counted
        ],
    )


def find(db: Connection, session_id: str, accounts: Accounts) -> Session | None:
    """If it is of one of these accounts."""
    query = _FIND if accounts is None else _FIND.where(sees_session(accounts))
    row = db.execute(query, {"session_id": session_id}).mappings().one_or_none()
    return session_rows.session(row) if row else None


def existing(db: Connection, ids: Collection[str]) -> set[str]:
    """Which of these ids are in the ledger."""
    return set(db.scalars(_EXISTING, {"ids": list(ids)})) if ids else set()


def lock(db: Connection, ids: Collection[str]) -> Iterator[LockedSession]:
    """Lock sessions in the order of their ids, and see how they are. Unknown ids are left out."""
    return map(session_rows.locked_session, _LOCK(db, ids))


def with_key(db: Connection, key: IdempotencyKey) -> tuple[Session, bytes] | None:
    """The session that has this idempotency key, locked, with the digest of its request."""
    query = select_sessions(session.c.request_digest).where(
        session.c.api_key_id == key.api_key_id, session.c.idempotency_key == key.key
    )
    row = db.execute(query.with_for_update(key_share=True, of=session)).mappings().one_or_none()
    return (session_rows.session(row), row["request_digest"]) if row else None


def sid_owners(db: Connection, sids: Collection[tuple[str, str]]) -> list[SidOwner]:
    """Who is known by one of these (call_sid, siprec_sid); those merged into others left out."""
    if not sids:
        return []
    wanted = {"call_sids": [call for call, _ in sids], "siprec_sids": [sid for _, sid in sids]}
    return [
        SidOwner(row.id, Origin(row.origin), pair)
        for row in db.execute(_SID_OWNERS, wanted)
        for pair in ((row.call_sid, row.answer_siprec_sid), (row.call_sid, row.callback_siprec_sid))
        if pair in sids
    ]


def reserve(db: Connection, names: Iterable[str]) -> None:
    """Until the transaction ends, nobody else who reserves one of `names` goes on.

    Rows can be locked only once they are there; this keeps two transactions from adopting, or missing,
    the same thing. On SQLite writers are alone anyway.
    """
    ordered = sorted(set(names))
    if ordered and db.dialect.name == "postgresql":
        locked = "SELECT pg_advisory_xact_lock(hashtextextended(name, 0))"
        db.execute(text(f"{locked} FROM unnest(CAST(:names AS text[])) AS name"), {"names": ordered})


def overdue(db: Connection, now: datetime, limit: int) -> list[str]:
    """Sessions whose answer is still awaited after its deadline."""
    query = select(session.c.id).where(text("deadline_at IS NOT NULL"), session.c.deadline_at < now)
    return list(db.scalars(query.order_by(session.c.deadline_at).limit(limit)))


def _insert_or_ignore(db: Connection, values: Mapping[str, Any]) -> bool:
    dialect = postgresql if db.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(session).values(values).on_conflict_do_nothing().returning(session.c.id)
    return db.execute(statement).one_or_none() is not None


def select_sessions(*more: ColumnElement[Any]) -> Select[Any]:
    """Whole sessions, as `session_rows.session` reads them, and these columns."""
    source = session.outerjoin(api_key, api_key.c.id == session.c.api_key_id)
    source = source.outerjoin(session_watch, session_watch.c.session_id == session.c.id)
    requested_by = api_key.c.name.label("requested_by")
    return select(session, requested_by, *watched.COLUMNS, *more).select_from(source)


# Made once: putting a statement together takes four times as long as running it.
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_SIPREC_SIDS: BindParameter[Any] = bindparam("siprec_sids", expanding=True)
_FIND = select_sessions().where(session.c.id == bindparam("session_id"))
_EXISTING = select(session.c.id).where(session.c.id.in_(_IDS))
_LOCK = Lookup(session, session_rows.LOCKED, by="id", order=("id",), locks=True)
_SID_OWNERS = (
    select(
        session.c.id,
        session.c.origin,
        session.c.call_sid,
        session.c.answer_siprec_sid,
        session.c.callback_siprec_sid,
    )
    .where(
        session.c.call_sid.in_(bindparam("call_sids", expanding=True)),
        or_(session.c.answer_siprec_sid.in_(_SIPREC_SIDS), session.c.callback_siprec_sid.in_(_SIPREC_SIDS)),
        session.c.merged_into.is_(None),
    )
    .order_by(session.c.id)
)
