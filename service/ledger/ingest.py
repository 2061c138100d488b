"""Whose a callback is: its token's session, else the one that its ids name, else one to be adopted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection

from service.domain.ids import new_id
from service.domain.session import Order, Origin, Progress, Session
from service.ledger.transaction import Ledger
from service.store import callbacks, sessions
from service.store.callbacks import Evidence, StoredCallback
from service.telnyx.callback import Callback

Sids = tuple[str, str]  # call_sid, siprec_sid


class Unsettled(Exception):
    """A callback has no session yet, or teaches its session a sid: that needs `hear`. Nothing was written."""


def ingest_known(db: Connection, batch: Sequence[Callback], now: datetime) -> None:
    """Keep fresh callbacks whose tokens name sessions that know their sids: most, and most quickly.

    Raises Unsettled.
    """
    if not all(told.session_id for told in batch):
        raise Unsettled
    ledger = Ledger(db, now, {told.session_id for told in batch if told.session_id})
    for told in batch:
        session = ledger.session(told.session_id or "")
        sid = told.notice.siprec_sid
        if session is None or (sid is not None and sid not in session.progress.sids):
            raise Unsettled
        ledger.hear(_kept(told, session.id))
    ledger.close()


def hear(db: Connection, batch: Sequence[Callback], now: datetime) -> None:
    """Keep the callbacks and fold them into their sessions: adopt, lock, look, write, in this order.

    A delivery that is in the ledger already is passed over.
    """
    each = list({told.delivery.id: told for told in batch}.values())
    sids = {pair for told in each if (pair := _sids(told))}
    reserve(db, sids)
    kept, adopted = _assign(db, each, sids)
    sessions.reserve(db, [f"stray {one.notice.digest.hex()}" for one in kept if one.session_id is None])
    ledger = Ledger(db, now, {one.session_id for one in kept if one.session_id} | adopted)
    known = callbacks.known_deliveries(db, {one.id for one in kept})  # after the lock, or two might not see
    fresh = [one for one in kept if one.id not in known]
    ledger.add_unmatched([one for one in fresh if one.session_id is None])
    for one in fresh:
        if one.session_id:
            ledger.hear(one)
    ledger.close()


def open_for_answer(db: Connection, now: datetime, session_id: str, sids: Collection[Sids]) -> Ledger:
    """The ledger with a session that is about to learn `sids`, and the adopted ones that hold them."""
    reserve(db, sids)
    return Ledger(db, now, {session_id, *_adopted_ones(sessions.sid_owners(db, sids))})


def reserve(db: Connection, sids: Collection[Sids]) -> None:
    """Until the transaction ends, nobody else adopts a session of these sids, or has one learn them."""
    sessions.reserve(db, [f"sids {call_sid} {siprec_sid}" for call_sid, siprec_sid in sids])


def _assign(
    db: Connection, batch: Sequence[Callback], sids: Collection[Sids]
) -> tuple[list[StoredCallback], set[str]]:
    """The callbacks in the order in which they came, each with the session it belongs to.

    And the adopted sessions that hold one of `sids`.
    """
    named = sessions.existing(db, {told.session_id for told in batch if told.session_id})
    found = sessions.sid_owners(db, sids)
    # One of ours before an adopted one.
    holders = {
        holder.sids: holder.id for holder in sorted(found, key=lambda h: h.origin is not Origin.ADOPTED)
    }
    owners: dict[str, str | None] = {}
    for told in sorted(batch, key=lambda told: _sids(told) or ("", "")):  # adopted in the order of sids
        pair = _sids(told)
        if told.session_id in named:
            owners[told.delivery.id] = told.session_id
            continue
        if pair and pair not in holders and _can_be_adopted(told):
            holders[pair] = sessions.adopt(db, _adopted(told))
        owners[told.delivery.id] = holders.get(pair) if pair else None
    return [_kept(told, owners[told.delivery.id]) for told in batch], {*_adopted_ones(found)}


def _adopted_ones(found: Collection[sessions.SidOwner]) -> list[str]:
    return [holder.id for holder in found if holder.origin is Origin.ADOPTED]


def _sids(told: Callback) -> Sids | None:
    notice = told.notice
    return (notice.call_sid, notice.siprec_sid) if notice.call_sid and notice.siprec_sid else None


def _can_be_adopted(told: Callback) -> bool:
    """All three ids are there, and Telnyx signed them."""
    is_signed = told.verified_by != "token" and told.delivery.method == "POST"
    return is_signed and bool(told.notice.account_sid and _sids(told))


def _adopted(told: Callback) -> Session:
    notice = told.notice
    assert notice.account_sid
    assert notice.call_sid
    return Session(
        id=new_id(),
        origin=Origin.ADOPTED,
        order=Order(notice.account_sid, notice.call_sid),
        requested_at=notice.received_at,
        updated_at=notice.received_at,
        progress=Progress(callback_siprec_sid=notice.siprec_sid),
    )


def _kept(told: Callback, session_id: str | None) -> StoredCallback:
    came, problem = told.delivery, told.problem
    if session_id is None:
        problem = "; ".join(filter(None, [problem, "it belongs to no session that we know"]))
    evidence = Evidence(
        came.id, came.received_at, came.method, came.query, came.body, came.evidence, told.verified_by
    )
    return StoredCallback(came.id, session_id, evidence, told.notice, told.event, problem=problem)
