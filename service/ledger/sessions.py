"""What happens: sessions are started and stopped, callbacks heard, deadlines kept. Owns every write."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from service.domain.ids import new_id
from service.domain.progress import changes
from service.domain.session import Error, ErrorKind, Notice, NoticeKind, Order, Origin, Session
from service.ledger import ingest, spool_entry
from service.ledger.spool_entry import UnsavedAnswer
from service.ledger.transaction import Ledger
from service.spool import Spool, SpoolUnusable
from service.store import events, rejected, sessions
from service.store.batch import Batch
from service.store.engine import Database, DatabaseError, DatabaseUnavailable
from service.store.events import Change
from service.store.rejected import RejectedDelivery
from service.store.sessions import IdempotencyKey
from service.telnyx.callback import Callback
from service.telnyx.callback_url import CallbackUrls
from service.telnyx.client import Client

QUARANTINE_SECONDS = 0.8
OVERDUE_AT_ONCE = 100
OWED_AT_MOST = 10_000

log = logging.getLogger(__name__)


class UnknownSession(Exception):
    """There is no session of this id."""


# Why an answer of Telnyx could not be merged into its session.
UNSETTLED = (DatabaseError, UnknownSession)


class TelnyxBusy(Exception):
    """As many requests wait for Telnyx as this process allows. Nothing was done."""


class StillStarting(Exception):
    """The first request with this idempotency key is not answered yet; its session is `session`."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.id)
        self.session = session


class KeyReused(Exception):
    """This idempotency key came with another body before, for `session`."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.id)
        self.session = session


class CannotStop(Exception):
    """`why` tells; `session` is as it stands."""

    def __init__(self, session: Session, why: str) -> None:
        super().__init__(why)
        self.session = session


class StopFailed(Exception):
    """Telnyx refused to stop the session, or did not answer; `error` tells."""

    def __init__(self, session: Session, error: Error) -> None:
        super().__init__(error.kind)
        self.session = session
        self.error = error


@dataclass(frozen=True)
class Started:
    """A session as it stands after Telnyx was asked, or as it stood when the same was asked again."""

    session: Session
    is_replay: bool = False


class Sessions:
    """Shared by all threads of a process. `in_flight` bounds the requests that wait for Telnyx."""

    def __init__(
        self,
        database: Database,
        telnyx: Client,
        callback_urls: CallbackUrls,
        clock: Callable[[], datetime],
        start_deadline: timedelta,
        in_flight: int,
        spool: Spool | None = None,
    ) -> None:
        self._database = database
        self._telnyx = telnyx
        self._addresses = callback_urls
        self._clock = clock
        self._start_deadline = start_deadline
        self._spool = spool
        self._slots = threading.BoundedSemaphore(in_flight)
        # Answers of Telnyx that found neither database nor spool; see `catch_up`.
        self._owed: deque[UnsavedAnswer] = deque(maxlen=OWED_AT_MOST)

    def start(self, order: Order, claim: IdempotencyKey) -> Started:
        """Write it down, ask Telnyx, merge the answer.

        Raises TelnyxBusy, StillStarting, KeyReused, and DatabaseUnavailable if Telnyx was not asked.
        """
        earlier = self._replay(claim)
        if earlier:
            return Started(earlier, is_replay=True)
        with self._slot():
            begun = self._begin(order, claim)
            if begun.is_replay:
                return begun
            answer = self._telnyx.start(order, self._addresses.of(begun.session.id))
        return Started(self._settle(begun.session, answer))

    def stop(self, session_id: str) -> Session:
        """Ask Telnyx to stop it; that it has ended only a callback says.

        Raises UnknownSession, CannotStop, StopFailed, TelnyxBusy, DatabaseUnavailable.
        """
        with self._slot():
            session = self._begin_stop(session_id)
            order, sid = session.order, session.progress.siprec_sid
            assert sid is not None
            error = self._telnyx.stop(order.account_sid, order.call_sid, sid)
        if error:
            raise StopFailed(session, error)
        return session

    @contextmanager
    def _slot(self) -> Iterator[None]:
        # Nobody waits here: a thread that waited would be one less for callbacks.
        if not self._slots.acquire(blocking=False):
            raise TelnyxBusy
        try:
            yield
        finally:
            self._slots.release()

    def _replay(self, claim: IdempotencyKey) -> Session | None:
        if claim.idempotency_key is None:
            return None
        with self._database.begin() as db:
            return self._earlier(db, claim)

    def _earlier(self, db: Connection, claim: IdempotencyKey) -> Session | None:
        """The session of an earlier request with the same key, unless that may be asked again."""
        found = sessions.claimed(db, claim) if claim.idempotency_key else None
        if found is None:
            return None
        session, digest = found
        if digest != claim.request_digest:
            raise KeyReused(session)
        now = self._clock()
        if session.is_asking(now):
            raise StillStarting(session)
        if session.answer is None:
            session = self._give_up(db, [session.id], now)[0]  # its process died
        return None if session.can_be_asked_again else session

    def _begin(self, order: Order, claim: IdempotencyKey) -> Started:
        """The first commit: a session to ask Telnyx for, or the one that the same key made."""
        now = self._clock()
        new = Session(
            id=new_id(),
            origin=Origin.API,
            order=order,
            requested_at=now,
            updated_at=now,
            deadline_at=now + self._start_deadline,
        )
        with self._database.begin() as db:
            if sessions.insert(db, new, claim):
                told = changes(None, new.progress)
                batch = Batch(db)
                events.write(batch, [Change(new.id, new.progress.state, told, now)], now)
                batch.write()
                return Started(_read(db, new.id))
            earlier = self._earlier(db, claim)  # committed while we looked
            if earlier:
                return Started(earlier, is_replay=True)
            return Started(self._ask_again(db, claim, now))

    def _ask_again(self, db: Connection, claim: IdempotencyKey, now: datetime) -> Session:
        found = sessions.claimed(db, claim)
        assert found is not None  # the insert ran into it, and nothing is ever deleted
        session_id = found[0].id
        ledger = Ledger(db, now, [session_id])
        ledger.ask_again(session_id, now + self._start_deadline)
        ledger.close()
        return _read(db, session_id)

    def _settle(self, asked: Session, answer: Notice) -> Session:
        """The second commit. If it finds no database, the app gets the session as first written."""
        owed = UnsavedAnswer(asked.id, asked.attempts, asked.order.call_sid, answer)
        try:
            return self.settle(owed)
        except UNSETTLED as trouble:
            log.error("answer owed: session=%s answer=%s: %s", asked.id, answer.kind.label, trouble)
            self._owe(owed)
            return asked

    def settle(self, owed: UnsavedAnswer) -> Session:
        """Merge Telnyx's answer into its session; again and again, if need be.

        Raises DatabaseError, and UnknownSession if the ledger was put back to before the start.
        """
        sid = owed.notice.siprec_sid
        with self._database.begin() as db:
            sids = {(owed.call_sid, sid)} if sid else set()
            ledger = ingest.open_for_answer(db, self._clock(), owed.session_id, sids)
            locked_session = ledger.session(owed.session_id)
            if locked_session is None:
                raise UnknownSession(owed.session_id)
            if locked_session.attempts == owed.attempt:  # a later attempt has an answer of its own
                ledger.answer(owed.session_id, owed.notice)
            ledger.close()
            return _read(db, owed.session_id)

    def _owe(self, owed: UnsavedAnswer) -> None:
        try:
            if self._spool is not None:
                self._spool.append([spool_entry.pack(owed)])
                return
        except SpoolUnusable as trouble:
            log.error("answer kept in memory only: session=%s: %s", owed.session_id, trouble)
        self._owed.append(owed)

    def _begin_stop(self, session_id: str) -> Session:
        with self._database.begin() as db:
            ledger = Ledger(db, self._clock(), [session_id])
            if ledger.session(session_id) is None:
                raise UnknownSession(session_id)
            _check_stoppable(_read(db, session_id))
            ledger.request_stop(session_id)
            ledger.close()
            return _read(db, session_id)

    def hear(
        self, batch: Sequence[Callback], within: float | None = None, *, are_fresh: bool = False
    ) -> None:
        """Keep callbacks and fold them into their sessions, all in one transaction.

        Any number of them may belong to one session, or be the same; a delivery that is already in the
        ledger is passed over, so a batch can be given again. `are_fresh` promises that there is none.
        Raises DatabaseUnavailable, after `within` seconds at the latest; DatabaseError for what is in them.
        """
        give_up = None if within is None else time.monotonic() + within
        if are_fresh:
            try:
                with self._database.begin(give_up) as db:
                    ingest.ingest_known(db, batch, self._clock())
                return
            except ingest.Unsettled:
                pass
        with self._database.begin(give_up) as db:
            ingest.hear(db, batch, self._clock())

    def probe(self, within: float) -> None:
        """Write something, if the breaker allows it. Raises DatabaseError, within so many seconds."""
        with self._database.breaker.probe() as may_try:
            if not may_try:
                self._database.breaker.check_writes()
            with self._database.begin(time.monotonic() + within, is_probe=True) as db:
                db.execute(text("UPDATE alembic_version SET version_num = version_num"))

    def quarantine(self, refusal: RejectedDelivery) -> None:
        """Keep a delivery that was refused. Raises DatabaseError, within QUARANTINE_SECONDS."""
        with self._database.begin(time.monotonic() + QUARANTINE_SECONDS) as db:
            rejected.keep(db, refusal)

    def give_up_waiting(self) -> int:
        """Sessions whose answer did not come by their deadline become unanswered. How many."""
        now = self._clock()
        with self._database.read() as db:
            overdue = sessions.overdue(db, now, OVERDUE_AT_ONCE)
        if not overdue:
            return 0
        with self._database.begin() as db:
            return len(self._give_up(db, overdue, now))

    def _give_up(self, db: Connection, ids: Sequence[str], now: datetime) -> list[Session]:
        ledger = Ledger(db, now, ids)
        waiting = [s for id in ids if (s := ledger.session(id)) and s.is_overdue(now)]
        error = Error(ErrorKind.NO_ANSWER, detail="no answer of Telnyx was kept before the deadline")
        for session in waiting:
            ledger.answer(session.id, Notice(NoticeKind.UNANSWERED, received_at=now, error=error))
        ledger.close()
        return [_read(db, session.id) for session in waiting]

    def catch_up(self) -> None:
        """Write down the answers that found neither database nor spool. Raises DatabaseUnavailable."""
        while self._owed:
            owed = self._owed[0]
            try:
                self.settle(owed)
                log.info("answer no longer owed: session=%s", owed.session_id)
            except DatabaseUnavailable:
                raise
            except UNSETTLED as trouble:  # its session will be unanswered; the others are not held up
                log.error("answer given up: session=%s: %s", owed.session_id, trouble)
            self._owed.popleft()


def _read(db: Connection, session_id: str) -> Session:
    session = sessions.find(db, session_id)
    assert session is not None  # the caller has it locked
    return session


def _check_stoppable(session: Session) -> None:
    state = session.progress.state
    if session.merged_into:
        raise CannotStop(session, f"it was folded into session {session.merged_into}")
    if state.is_over:
        raise CannotStop(session, f"it is over: {state}")
    if session.progress.siprec_sid is None:
        raise CannotStop(session, f"Telnyx has not given it a sid yet: {state}")
