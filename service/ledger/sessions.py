"""Sessions are started and stopped, and what Telnyx answered is written down."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from service import metrics
from service.domain.access import ALL_ACCOUNTS
from service.domain.ids import new_id
from service.domain.notice import Notice
from service.domain.progress import changes
from service.domain.session import Origin, Session
from service.domain.start import CallbackMethod, Order
from service.ledger import ingest, session_log
from service.ledger.deadlines import expire
from service.ledger.errors import (
    AccountNotAllowed,
    AccountWithoutKey,
    CannotStop,
    GetNotVouched,
    KeyReused,
    StillStarting,
    StopAsked,
    StopFailed,
    TelnyxBusy,
    UnknownSession,
)
from service.ledger.ingest import Changed
from service.ledger.spool_entry import UnsavedAnswer
from service.ledger.transaction import Transaction
from service.log_lines import fields
from service.store import events, sessions
from service.store.batch import Batch
from service.store.engine import Database, DatabaseError, Server, make_durable, server_of
from service.store.events import Change, EventKind
from service.store.keys import ApiKey
from service.store.sessions import IdempotencyKey
from service.telnyx.callback_url import CallbackUrls
from service.telnyx.client import Client

UNSAVED = (DatabaseError, UnknownSession)  # why an answer of Telnyx could not be saved

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Started:
    """A session as it stands after Telnyx was asked, or as it stood when the same was asked again."""

    session: Session
    is_replay: bool = False
    retry_after: timedelta | None = None  # how long Telnyx wants us to wait


class Sessions:
    """Shared by all threads of a process.

    `in_flight` bounds the requests that wait for Telnyx; `save_later` keeps an answer that the database
    does not take; `changed` is told, after each commit, which sessions changed. `post_only` are the accounts
    of which no callback by GET can be proven, `proven` those of which any can (None: all).
    """

    def __init__(
        self,
        database: Database,
        telnyx: Client,
        callback_urls: CallbackUrls,
        clock: Callable[[], datetime],
        start_deadline: timedelta,
        in_flight: int,
        save_later: Callable[[UnsavedAnswer], None],
        changed: Changed,
        post_only: Collection[str] = (),
        proven: Collection[str] | None = None,
    ) -> None:
        self._database = database
        self._telnyx = telnyx
        self._callback_urls = callback_urls
        self._clock = clock
        self._start_deadline = start_deadline
        self._slots = threading.BoundedSemaphore(in_flight)
        self._save_later = save_later
        self._changed = changed
        self._post_only = post_only
        self._proven = proven

    def start(self, order: Order, key: IdempotencyKey, by: ApiKey) -> Started:
        """Write it down, ask Telnyx, merge the answer.

        Raises AccountNotAllowed, AccountWithoutKey, GetNotVouched, TelnyxBusy, StillStarting, KeyReused,
        and DatabaseUnavailable if Telnyx was not asked.
        """
        came = time.monotonic()
        if not by.access.reaches(order.account_sid):
            raise AccountNotAllowed(order.account_sid)
        earlier = self._replay(key, by)
        if earlier:
            return Started(earlier, is_replay=True)
        self._require_key(order.account_sid)
        if self._proven is not None and order.account_sid not in self._proven:
            raise AccountWithoutKey(order.account_sid)
        if order.status_callback_method is CallbackMethod.GET and order.account_sid in self._post_only:
            raise GetNotVouched
        with self._slot():
            begun = self._begin(order, key, by)
            if begun.is_replay:
                return begun
            url = self._callback_urls.of(begun.session.id, order.status_callback_method)
            answer = self._telnyx.start(order, url)
        metrics.count_start(answer.kind.label, time.monotonic() - came)
        session_log.answered(begun.session, answer)
        retry_after = answer.error.retry_after if answer.error else None
        return Started(self._save_answer(begun.session, answer), retry_after=retry_after)

    def stop(self, session_id: str, by: ApiKey, *, only_once: bool = False) -> Session:
        """Ask Telnyx to stop it; that it has ended only a callback says.

        Raises UnknownSession, CannotStop, AccountWithoutKey, StopFailed, TelnyxBusy, DatabaseUnavailable;
        where `only_once`, StopAsked if somebody has asked for it before, or does at the same moment.
        """
        with self._slot():
            session = self._begin_stop(session_id, by, only_once=only_once)
            order, sid = session.order, session.progress.siprec_sid
            assert sid is not None
            error = self._telnyx.stop(order.account_sid, order.call_sid, sid)
        session_log.stop_answered(session, by.name, error)
        if error:
            raise StopFailed(session, error)
        return session

    def save_answer(self, unsaved: UnsavedAnswer, *, is_probe: bool = False) -> tuple[Session, Server | None]:
        """Merge Telnyx's answer into its session, again and again if need be; and which server committed it.

        Raises DatabaseError, and UnknownSession if the ledger was put back to before the start.
        """
        *_, last = self._merge_answer(unsaved, is_probe=is_probe)
        return last

    def _merge_answer(
        self, unsaved: UnsavedAnswer, *, is_probe: bool
    ) -> Iterator[tuple[Session, Server | None]]:
        """After each commit, the session as it is then, and the server. Raises as `save_answer` does."""
        sid = unsaved.notice.siprec_sid
        sids = {(unsaved.call_sid, sid)} if sid else set()
        is_done = False
        while not is_done:
            with self._database.begin(is_probe=is_probe) as db:
                transaction = ingest.open_for_answer(db, self._clock(), unsaved.session_id, sids)
                session = transaction.sessions.get(unsaved.session_id)
                if session is None:
                    raise UnknownSession(unsaved.session_id)
                if session.attempts == unsaved.attempt:
                    transaction.answer(unsaved.session_id, unsaved.notice)
                else:  # a later attempt has an answer of its own
                    make_durable(db)
                changed = transaction.close()
                saved, server = _read(db, unsaved.session_id), server_of(db)
            self._changed(changed)
            # Beside the answer's sid, the callbacks' may count now that did not before: it is reserved next.
            learned = {(unsaved.call_sid, one) for one in saved.progress.sids - session.progress.sids} - sids
            yield saved, server
            is_done = not learned and not transaction.has_more_unmatched
            sids |= learned

    @contextmanager
    def _slot(self) -> Iterator[None]:
        # Nobody waits here: a thread that waited would be one less for others.
        if not self._slots.acquire(blocking=False):
            raise TelnyxBusy
        try:
            yield
        finally:
            self._slots.release()

    def _replay(self, key: IdempotencyKey, by: ApiKey) -> Session | None:
        if key.key is None:
            return None
        with self._database.begin() as db:
            return self._earlier(db, key, by)

    def _earlier(self, db: Connection, key: IdempotencyKey, by: ApiKey) -> Session | None:
        """The session of an earlier request with the same key, unless that may be asked again."""
        found = sessions.with_key(db, key) if key.key else None
        if found is None:
            return None
        session, digest = found
        if not by.access.reaches(session.order.account_sid):
            raise KeyReused(None)
        if digest != key.request_digest:
            raise KeyReused(session)
        now = self._clock()
        if session.is_starting(now):
            raise StillStarting(session)
        if session.deadline_at is not None:
            expire(db, [session.id], now)  # its process died
            session = _read(db, session.id)
        return None if session.can_be_asked_again else session

    def _begin(self, order: Order, key: IdempotencyKey, by: ApiKey) -> Started:
        """The first commit: a session to ask Telnyx for, or the one that the same key made."""
        now = self._clock()
        deadline_at = now + self._start_deadline
        new = Session(new_id(), Origin.API, order, now, now, deadline_at=deadline_at)
        with self._database.begin() as db:
            if sessions.insert(db, new, key):
                _write_created(db, new, by.name, now)
                begun = Started(_read(db, new.id))
            elif earlier := self._earlier(db, key, by):  # committed while we looked
                begun = Started(earlier, is_replay=True)
            else:
                begun = Started(self._ask_again(db, key, by.name, now))
        self._changed({begun.session.id})
        return begun

    def _ask_again(self, db: Connection, key: IdempotencyKey, actor: str, now: datetime) -> Session:
        found = sessions.with_key(db, key)
        assert found is not None  # the insert ran into it, and nothing is ever deleted
        session_id = found[0].id
        transaction = Transaction(db, now, [session_id])
        transaction.ask_again(session_id, actor, now + self._start_deadline)
        transaction.close()
        return _read(db, session_id)

    def _save_answer(self, started: Session, answer: Notice) -> Session:
        """The second commit. If it finds no database, the app gets the session as first written."""
        unsaved = UnsavedAnswer(started.id, started.attempts, started.order.call_sid, answer)
        saved = started
        try:
            for saved, _ in self._merge_answer(unsaved, is_probe=False):  # noqa: B007
                pass
        except UNSAVED as error:
            what = "answer" if saved is started else "answer saved, but what follows from it"
            named = fields(session_id=started.id, error=error)
            log.error("%s not saved, will save later", what, extra=named)
            self._save_later(unsaved)
        return saved

    def _require_key(self, account_sid: str) -> None:
        if not self._telnyx.has_key(account_sid):
            raise AccountWithoutKey(account_sid)

    def _begin_stop(self, session_id: str, by: ApiKey, *, only_once: bool) -> Session:
        with self._database.begin() as db:
            transaction = Transaction(db, self._clock(), [session_id])
            found = sessions.find(db, session_id, by.access.accounts)
            if found is None or session_id not in transaction.sessions:
                raise UnknownSession(session_id)
            _check_stoppable(found)
            if only_once and found.progress.stop_requested_at is not None:
                raise StopAsked(found, "somebody has asked for it before")
            self._require_key(found.order.account_sid)
            transaction.request_stop(session_id, by.name)
            changed = transaction.close()
            session = _read(db, session_id)
        self._changed(changed)
        return session


def _write_created(db: Connection, new: Session, actor: str, now: datetime) -> None:
    sessions.add_attempt(db, new.id, 1, actor, now)
    batch = Batch(db)
    created = Change(
        session_id=new.id,
        kind=EventKind.CREATED,
        actor=actor,
        facts=changes(None, new.progress),
        state=new.progress.state,
        account_sid=new.order.account_sid,
        siprec_sid=None,
        happened_at=now,
    )
    events.add(batch, [created], now)
    batch.write()


def _read(db: Connection, session_id: str) -> Session:
    session = sessions.find(db, session_id, ALL_ACCOUNTS)
    assert session is not None  # the caller has it locked
    return session


def _check_stoppable(session: Session) -> None:
    state = session.progress.state
    if session.merged_into:
        raise CannotStop(session, f"it was merged into session {session.merged_into}")
    if session.is_over:
        raise CannotStop(session, f"it is over: {state}")
    if session.progress.siprec_sid is None:
        raise CannotStop(session, f"Telnyx has not given it a sid yet: {state}")
