"""Whose a callback is: its token's session, else the one that its ids name, else one to be adopted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from service.domain.callback import Callback, Delivery
from service.domain.ids import new_id
from service.domain.notice import Notice, NoticeKind
from service.domain.progress import MOST_FOLDED
from service.domain.session import Origin, Progress, Session
from service.domain.start import Order
from service.ledger.tally import Tally
from service.ledger.transaction import Sids, Transaction
from service.log_lines import fields
from service.store import callbacks, sessions
from service.store.engine import AnyConnection, Database, RecordRefused, Server, make_durable, server_of
from service.store.sessions import SidOwner

Changed = Callable[[Collection[str]], None]  # told which sessions changed, after each commit

log = logging.getLogger(__name__)


class UnknownSids(Exception):
    """A callback has no session yet, or teaches its session a sid: that needs a look. Nothing was written."""


class Ingest:
    """Writes genuine callbacks down and folds them into their sessions, a batch in a transaction."""

    def __init__(self, database: Database, clock: Callable[[], datetime], changed: Changed) -> None:
        self._database = database
        self._clock = clock
        self._changed = changed

    def write(
        self,
        batch: Sequence[Callback],
        deadline: float | None = None,
        *,
        are_fresh: bool = False,
        is_probe: bool = False,
    ) -> Server | None:
        """Any number of them may belong to one session, or be the same callback.

        A delivery that is stored already is passed over, so a batch can be given again; `are_fresh`
        promises that there is none. The server that committed it. Raises DatabaseError, by `deadline`
        (monotonic seconds) at the latest.
        """
        try:
            with self._connection(deadline, are_fresh=are_fresh, is_probe=is_probe) as db:
                changed, tally = write_known(db, batch, self._clock(), are_fresh=are_fresh)
                server = server_of(db)
        except UnknownSids:
            return self._write(batch, deadline, is_probe=is_probe)
        tally.add()
        self._changed(changed)
        return server

    def write_refused(self, callback: Callback, deadline: float, *, is_probe: bool = False) -> Server | None:
        """A callback that was refused by itself: once more, else raw. Raises DatabaseError.

        Raw, all that it says is lost to its session, so that has to be the record's own fault: both are tried
        in one transaction, which keeps the tables from being altered between them.
        """
        reason = None
        with self._database.begin(deadline, is_probe=is_probe) as db:
            callbacks.hold_tables(db)  # before the savepoint, or they are let go with it
            try:
                with self._database.nested(db):
                    written = write(db, [callback], self._clock())
            except RecordRefused as error:
                reason = str(error)
                written = write(db, [callback.raw()], self._clock())
            server = server_of(db)
        if reason is not None:
            log.error("callback stored raw", extra=fields(delivery_id=callback.delivery.id, error=reason))
        written.tally.add()
        self._changed(written.changed)
        return self._write([callback], deadline, is_probe=is_probe) if written.has_more else server

    def try_out(self, deadline: float, *, is_probe: bool = False) -> None:
        """Whether the database takes callbacks: a new one and its repeat are written, and taken back.

        Raises DatabaseError if it does not.
        """
        with self._database.begin(deadline, is_probe=is_probe) as db:
            savepoint = db.begin_nested()
            write(db, _trial(self._clock()), self._clock())
            savepoint.rollback()
            make_durable(db)

    def _connection(
        self, deadline: float | None, *, are_fresh: bool, is_probe: bool
    ) -> AbstractContextManager[AnyConnection]:
        if deadline is None or not are_fresh:
            return self._database.begin(deadline, is_probe=is_probe)
        return self._database.ingest(deadline, is_probe=is_probe)

    def _write(self, batch: Sequence[Callback], deadline: float | None, *, is_probe: bool) -> Server | None:
        has_more = True
        while has_more:
            with self._database.begin(deadline, is_probe=is_probe) as db:
                written = write(db, batch, self._clock())
                server = server_of(db)
            written.tally.add()
            self._changed(written.changed)
            has_more = written.has_more
        return server


class Written(NamedTuple):
    """The sessions that changed, what to count once it is committed, and whether to call again."""

    changed: set[str]
    tally: Tally
    has_more: bool


def write_known(
    db: AnyConnection, batch: Sequence[Callback], now: datetime, *, are_fresh: bool
) -> tuple[set[str], Tally]:
    """Callbacks whose tokens name sessions that know their sids: most, and most quickly.

    The sessions that changed, and what to count once it is committed. Raises UnknownSids.
    """
    named = {came.session_id for came in batch}
    if None in named:
        raise UnknownSids
    ids = {session_id for session_id in named if session_id}
    transaction = Transaction(db, now, ids)  # type: ignore[arg-type]  # what it does here, the driver does
    for came in batch:
        session = transaction.sessions.get(came.session_id or "")
        sid = came.notice.siprec_sid
        if session is None or (sid is not None and sid not in session.progress.sids):
            raise UnknownSids
        if session.callbacks > MOST_FOLDED:  # whether it is a repeat, more has to be looked up for
            raise UnknownSids
    new = batch if are_fresh else _without_known(db, batch)  # type: ignore[arg-type]  # of Database.begin
    transaction.add((came, came.session_id) for came in new)
    return transaction.close(), transaction.tally


def write(db: Connection, batch: Sequence[Callback], now: datetime) -> Written:
    """Adopt, lock, look, write, in this order.

    It is to be called again where more callbacks wait to come home to one of the sessions. A delivery that
    is in the ledger already is passed over.
    """
    each = {came.delivery.id: came for came in batch}
    sids = {pair for came in each.values() if (pair := _sids(came))}
    reserve(db, sids)
    owners, adopted = _owners(db, list(each.values()), sids)
    unmatched = [came for id, came in each.items() if owners[id] is None]
    sessions.reserve(db, [f"unmatched {came.notice.digest.hex()}" for came in unmatched])
    transaction = Transaction(db, now, {id for id in owners.values() if id} | adopted, sids)
    transaction.add((came, owners[came.delivery.id]) for came in _without_known(db, batch))
    return Written(transaction.close(), transaction.tally, transaction.has_more_unmatched)


def _without_known(db: Connection, batch: Sequence[Callback]) -> list[Callback]:
    """Those not in the ledger yet, each once. Only after the lock, or two might not see each other's."""
    each = {came.delivery.id: came for came in batch}
    known = callbacks.known_deliveries(db, set(each))
    if known:
        make_durable(db)  # that they are seen is not enough to forget them elsewhere
    return [came for id, came in each.items() if id not in known]


def _trial(now: datetime) -> list[Callback]:
    """Two deliveries of a callback whose session is adopted with it, so that every table is written to."""
    sid = new_id()
    notice = Notice(NoticeKind.OTHER, now, digest=sid.encode(), account_sid=sid, call_sid=sid, siprec_sid=sid)
    deliveries = [Delivery(new_id(), now, "POST", None, b"", {}, b"") for _ in range(2)]
    return [Callback(one, None, "trial", None, notice, None) for one in deliveries]


def open_for_answer(db: Connection, now: datetime, session_id: str, sids: Collection[Sids]) -> Transaction:
    """With a session that is about to learn `sids`, and the adopted ones that own them."""
    reserve(db, sids)
    return Transaction(db, now, {session_id, *_adopted_ones(sessions.sid_owners(db, sids))}, sids)


def reserve(db: Connection, sids: Collection[Sids]) -> None:
    """Until the transaction ends, nobody else adopts a session of these sids, has one learn them, or stores
    an unmatched callback of them."""
    sessions.reserve(db, [f"sids {call_sid} {siprec_sid}" for call_sid, siprec_sid in sids])


def _owners(
    db: Connection, batch: Sequence[Callback], sids: Collection[Sids]
) -> tuple[dict[str, str | None], set[str]]:
    """Delivery id -> the session it belongs to; and the adopted sessions that own one of `sids`."""
    named = sessions.existing(db, {came.session_id for came in batch if came.session_id})
    found = sessions.sid_owners(db, sids)
    # One of ours before an adopted one.
    by_sids = {owner.sids: owner.id for owner in sorted(found, key=lambda o: o.origin is not Origin.ADOPTED)}
    homeless = [came for came in batch if came.session_id not in named]
    for came in sorted(homeless, key=lambda came: (_sids(came) or ("", ""), came.notice.receipt)):
        pair = _sids(came)
        if pair and pair not in by_sids and _can_be_adopted(came):
            by_sids[pair] = sessions.adopt(db, _adopted(came, pair))
    owners = {}
    for came in batch:
        pair = _sids(came)
        by_ids = by_sids.get(pair) if pair else None
        owners[came.delivery.id] = came.session_id if came.session_id in named else by_ids
    return owners, {*_adopted_ones(found)}


def _adopted_ones(found: Collection[SidOwner]) -> list[str]:
    return [owner.id for owner in found if owner.origin is Origin.ADOPTED]


def _sids(came: Callback) -> Sids | None:
    notice = came.notice
    return (notice.call_sid, notice.siprec_sid) if notice.call_sid and notice.siprec_sid else None


def _can_be_adopted(came: Callback) -> bool:
    """All three ids are there, and Telnyx signed them."""
    is_signed = came.verified_by != "token" and came.delivery.method == "POST"
    return is_signed and bool(came.notice.account_sid and _sids(came))


def _adopted(came: Callback, sids: Sids) -> Session:
    notice = came.notice
    assert notice.account_sid
    return Session(
        id=new_id(),
        origin=Origin.ADOPTED,
        order=Order(notice.account_sid, sids[0]),
        requested_at=notice.received_at,
        updated_at=notice.received_at,
        progress=Progress(callback_siprec_sid=sids[1]),
    )
