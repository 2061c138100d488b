"""Callbacks are written: each once with its evidence, every further delivery counted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, select, text, tuple_

from service.domain.callback import Callback
from service.domain.notice import Error, ErrorKind, Notice, NoticeKind
from service.domain.progress import MOST_FOLDED
from service.domain.value import value
from service.store.batch import Batch
from service.store.engine import is_postgresql
from service.store.lookup import First, Lookup
from service.store.tables import callback, callback_repeat, event, session, session_attempt


@value(frozen=True)
class KnownCallback:
    """What folding needs of a callback that is kept; its evidence stays where it is."""

    id: str
    session_id: str | None
    notice: Notice
    last_received_at: datetime
    deliveries: int = 1
    contradiction: str | None = None


def first_of(db: Connection, session_ids: Collection[str]) -> Iterator[KnownCallback]:
    """Of each of these sessions the callbacks received first, as many as folding looks at."""
    return map(_known, _FIRST(db, session_ids))


def with_digests(db: Connection, session_id: str, digests: Collection[bytes]) -> list[KnownCallback]:
    """The callbacks of this session that have one of these digests."""
    found = db.execute(_SAME, {"session_id": session_id, "digests": list(digests)})
    return [_known(row) for row in found.mappings()]


def unmatched_with(db: Connection, digests: Collection[bytes]) -> list[KnownCallback]:
    """Callbacks that belong to no session, with one of these digests."""
    if not digests:
        return []
    return [_known(row) for row in db.execute(_UNMATCHED_SAME, {"digests": list(digests)}).mappings()]


def unmatched_of(
    db: Connection, sids: Collection[tuple[str, str]], limit: int
) -> list[tuple[tuple[str, str], KnownCallback]]:
    """Callbacks that belong to no session and name one of these (call_sid, siprec_sid), received first."""
    if not sids:
        return []
    named = tuple_(callback.c.call_sid, callback.c.siprec_sid).in_(sids)
    query = select(*_KNOWN_COLUMNS).where(callback.c.session_id.is_(None), named)
    rows = db.execute(query.order_by(callback.c.received_at, callback.c.digest).limit(limit)).mappings()
    return [((row["call_sid"], row["siprec_sid"]), _known(row)) for row in rows]


def hold_tables(db: Connection) -> None:
    """Until the transaction ends, nobody alters a table that callbacks are written to; on SQLite none can."""
    if is_postgresql(db):
        db.execute(text(f"LOCK TABLE {', '.join(table.name for table in _WRITTEN)} IN ACCESS SHARE MODE"))


def known_deliveries(db: Connection, ids: Collection[str]) -> set[str]:
    """Which of these deliveries are in the ledger already."""
    return set(db.scalars(_DELIVERIES, {"wanted": list(ids)})) if ids else set()


def add(batch: Batch, new: Sequence[tuple[KnownCallback, Callback]], written_at: datetime) -> None:
    """Each as it stands after all of its deliveries, and its first delivery."""
    batch.add(callback, [_new_row(known, came, written_at) for known, came in new])


def add_repeats(batch: Batch, repeats: Sequence[tuple[str, Callback, bool]], written_at: datetime) -> None:
    """Further deliveries: (the callback's id, the delivery, whether its bytes are the first one's)."""
    rows = []
    for callback_id, again, is_equal in repeats:
        row = {"id": again.delivery.id, "callback_id": callback_id, **_evidence(again, written_at)}
        rows.append({**row, "query": None, "body": None} if is_equal else row)
    batch.add(callback_repeat, rows)


def change(batch: Batch, known: Sequence[KnownCallback]) -> None:
    """Write what further deliveries, or a change of their session, change of callbacks."""
    batch.change(callback, [{"id": one.id, **_changing(one)} for one in known])


def first_bytes(db: Connection, ids: Collection[str]) -> dict[str, tuple[bytes, bytes]]:
    """(query, body) of these callbacks' first deliveries, by id."""
    rows = _BYTES(db, ids) if ids else []
    return {row["id"]: (row["query"], row["body"]) for row in rows}


def move(db: Connection, ids: Collection[str], session_id: str) -> None:
    """Hand callbacks over to another session that does not hold the same ones."""
    if ids:
        db.execute(_MOVE, [{"moved": id, "to": session_id} for id in ids])


def merge_duplicate(db: Connection, kept: KnownCallback, duplicate: KnownCallback) -> KnownCallback:
    """Turn the same callback under another session into deliveries of the one that is kept."""
    db.execute(_REPEATS_GO, {"kept": kept.id, "gone": duplicate.id})
    db.execute(_BECOME_REPEAT, {"kept": kept.id, "gone": duplicate.id})
    db.execute(_GO, {"gone": duplicate.id})
    return together(kept, duplicate)


def together(one: KnownCallback, other: KnownCallback) -> KnownCallback:
    """`one`, with the deliveries of `other`, which says the same."""
    said, again = one.notice, other.notice
    return KnownCallback(
        id=one.id,
        session_id=one.session_id,
        notice=said.received_too(again),
        last_received_at=max(one.last_received_at, other.last_received_at),
        deliveries=one.deliveries + other.deliveries,
        contradiction=one.contradiction,
    )


def new(came: Callback, session_id: str | None) -> KnownCallback:
    received_at = came.delivery.received_at
    return KnownCallback(came.delivery.id, session_id, came.notice, received_at)


def _changing(one: KnownCallback) -> dict[str, Any]:
    return {
        "received_at": one.notice.received_at,
        "last_received_at": one.last_received_at,
        "deliveries": one.deliveries,
        "time_is_plausible": one.notice.time_is_plausible,
        "contradiction": one.contradiction,
    }


def _evidence(came: Callback, written_at: datetime) -> dict[str, Any]:
    delivery = came.delivery
    return {
        "received_at": delivery.received_at,
        "written_at": written_at,
        "method": delivery.method,
        "query": delivery.query,
        "body": delivery.body,
        "headers": delivery.evidence,
        "verified_by": came.verified_by,
        "answered": delivery.answered,
        "spooled_on": delivery.spooled_on,
    }


def _new_row(known: KnownCallback, came: Callback, written_at: datetime) -> dict[str, Any]:
    said = came.notice
    return {
        "id": known.id,
        "session_id": known.session_id,
        "digest": said.digest,
        **_evidence(came, written_at),
        "event": came.event,
        "happened_at": said.happened_at,
        "account_sid": said.account_sid,
        "call_sid": said.call_sid,
        "siprec_sid": said.siprec_sid,
        "error": said.error.detail if said.error else None,
        "problem": came.problem,
        **_changing(known),
    }


def _known(row: Mapping[Any, Any]) -> KnownCallback:
    return KnownCallback(
        row["id"],
        row["session_id"],
        notice(row),
        row["last_received_at"],
        row["deliveries"],
        row["contradiction"],
    )


def notice(row: Mapping[Any, Any]) -> Notice:
    """What a row of `callback` says."""
    kind = NoticeKind.of_event(row["event"])
    return Notice(
        kind=kind,
        received_at=row["received_at"],
        happened_at=row["happened_at"],
        time_is_plausible=bool(row["time_is_plausible"]),
        digest=row["digest"],
        error=Error(ErrorKind.SIPREC_FAILED, detail=row["error"]) if kind is NoticeKind.FAILED else None,
        account_sid=row["account_sid"],
        call_sid=row["call_sid"],
        siprec_sid=row["siprec_sid"],
    )


_WRITTEN = (session, session_attempt, callback, callback_repeat, event)

# Made once: putting a statement together takes four times as long as running it.
_KNOWN_NAMES = (
    *("id", "session_id", "digest", "received_at", "last_received_at", "event", "happened_at"),
    *("time_is_plausible", "error", "deliveries", "contradiction", "account_sid", "call_sid", "siprec_sid"),
)
_KNOWN_COLUMNS = tuple(callback.c[name] for name in _KNOWN_NAMES)
_DIGESTS: BindParameter[Any] = bindparam("digests", expanding=True)
_WANTED: BindParameter[Any] = bindparam("wanted", expanding=True)
_FIRST = First(callback, _KNOWN_NAMES, by="session_id", order=("received_at", "digest"), most=MOST_FOLDED)
_SAME = select(*_KNOWN_COLUMNS).where(
    callback.c.session_id == bindparam("session_id"), callback.c.digest.in_(_DIGESTS)
)
_UNMATCHED_SAME = select(*_KNOWN_COLUMNS).where(
    callback.c.session_id.is_(None), callback.c.digest.in_(_DIGESTS)
)
_BYTES = Lookup(callback, ("id", "query", "body"), by="id", order=("id",))
_DELIVERIES = (
    select(callback.c.id)
    .where(callback.c.id.in_(_WANTED))
    .union_all(select(callback_repeat.c.id).where(callback_repeat.c.id.in_(_WANTED)))
)
_MOVE = text("UPDATE callback SET session_id = :to WHERE id = :moved")
_REPEATS_GO = text(  # those whose bytes were the first one's get them, for the first one is another now
    "UPDATE callback_repeat SET callback_id = :kept,"
    " query = COALESCE(query, (SELECT query FROM callback WHERE id = :gone)),"
    " body = COALESCE(body, (SELECT body FROM callback WHERE id = :gone))"
    " WHERE callback_id = :gone"
)
_BECOME_REPEAT = text(
    "INSERT INTO callback_repeat (id, callback_id, received_at, written_at, method, query, body, headers,"
    " verified_by, answered, spooled_on) SELECT id, :kept, received_at, written_at, method, query, body,"
    " headers, verified_by, answered, spooled_on FROM callback WHERE id = :gone"
)
_GO = text("DELETE FROM callback WHERE id = :gone")
