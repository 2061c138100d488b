"""Histories for reports: what was asked, answered and called back, at times that the test sets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from service.domain.callback import Callback, Delivery
from service.domain.ids import new_id
from service.domain.notice import Error, ErrorKind, Notice, NoticeKind
from service.domain.overdue import Overdue, OverdueKind, Watched
from service.domain.session import Origin, Session
from service.domain.start import Order
from service.ledger.ingest import Ingest
from service.ledger.sessions import Sessions, _write_created
from service.ledger.spool_entry import UnsavedAnswer
from service.ledger.transaction import Transaction
from service.sandbox import Sandbox
from service.sandbox import Session as TelnyxSession
from service.store import keys, rejected, sessions, watched
from service.store.batch import Batch
from service.store.engine import Database, DatabaseUnavailable
from service.store.rejected import RejectedDelivery
from service.store.sessions import IdempotencyKey
from service.store.watch_tables import session_watch
from service.telnyx.callback import Reader
from service.telnyx.callback_url import CallbackUrls
from service.telnyx.client import Client

CALLBACK_URLS = CallbackUrls("http://127.0.0.1:9", ["a secret that is long enough for a test"])
NEVER_ASKED = "http://127.0.0.1:9"
DEADLINE = timedelta(minutes=1)
PATIENCE_SECONDS = 60
KEPT_FOR = timedelta(milliseconds=5)  # a callback is written so long after it was received


class History:
    """The ledger's own functions, and its clock: each is done at the time that it is told, UTC."""

    def __init__(self, database: Database, *apps: str) -> None:
        self.database = database
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._ingest = Ingest(database, self._clock, _nothing)
        telnyx = Client(NEVER_ASKED, "key", 1, self._clock)
        self._sessions = Sessions(
            database, telnyx, CALLBACK_URLS, self._clock, DEADLINE, 1, _nothing, _nothing
        )
        self._sandbox = Sandbox()
        self._reader = Reader([self._sandbox.public_key], CALLBACK_URLS, must_be_signed=True)
        with database.begin() as db:
            for app in apps or ("an app",):
                keys.create(db, app, self._now)
            self._keys = {key.name: key.id for key in keys.listed(db)}

    def _clock(self) -> datetime:
        return self._now

    def _begin(self) -> AbstractContextManager[Connection]:
        return self.database.begin(_patience())

    def ask(
        self, at: datetime, call_sid: str, account: str = "account-1", app: str = "an app", **order: Any
    ) -> str:
        """Its session's id. Telnyx has not answered yet."""
        self._now = at
        asked = Order(account, call_sid, **order)
        new = Session(new_id(), Origin.API, asked, at, at, requested_by=app, deadline_at=at + DEADLINE)
        with self._begin() as db:
            assert sessions.insert(db, new, IdempotencyKey(self._keys[app]))
            _write_created(db, new, app, at)
        return new.id

    def accept(self, at: datetime, session_id: str, call_sid: str, siprec_sid: str) -> None:
        self._answer(session_id, call_sid, Notice(NoticeKind.ACCEPTED, at, siprec_sid=siprec_sid))

    def refuse(self, at: datetime, session_id: str, call_sid: str, kind: ErrorKind, **error: Any) -> None:
        """Or leave it unanswered, where `kind` is that there is no answer."""
        answer = NoticeKind.UNANSWERED if kind is ErrorKind.NO_ANSWER else NoticeKind.REFUSED
        self._answer(session_id, call_sid, Notice(answer, at, error=Error(kind, **error)))

    def _answer(self, session_id: str, call_sid: str, answer: Notice) -> None:
        self._now = answer.received_at
        give_up, is_probe = _patience(), False
        while True:
            try:
                self._sessions.save_answer(UnsavedAnswer(session_id, 1, call_sid, answer), is_probe=is_probe)
            except DatabaseUnavailable:  # a server that has much to do beside this one
                if time.monotonic() > give_up:
                    raise
                is_probe = True
            else:
                return

    def stop(self, at: datetime, session_id: str, app: str = "an app") -> None:
        """Somebody wishes it."""
        self._now = at
        with self._begin() as db:
            transaction = Transaction(db, at, {session_id})
            transaction.request_stop(session_id, app)
            transaction.close()

    def callback(
        self,
        call_sid: str,
        siprec_sid: str | None,
        event: str,
        happened: datetime,
        received: datetime | None = None,
        account: str = "account-1",
        session_id: str | None = None,
        **fields: str | None,
    ) -> Callback:
        """As Telnyx signs it; of `session_id`, whose token it has, or of the session of these ids."""
        about = TelnyxSession(account, call_sid, siprec_sid or "")
        missing = {} if siprec_sid else {"SiprecSid": None}
        body = self._sandbox.compose(about, event, happened, None, **missing, **fields)
        at = received or happened
        headers = self._sandbox.sign(body, at)
        came = self._reader.read(Delivery(new_id(), at, "POST", None, b"", headers, body))
        return replace(came, session_id=session_id)

    def write(self, *batch: Callback, written: datetime | None = None, spooled_on: str | None = None) -> None:
        """`spooled_on`: they waited on that host's disk."""
        self._now = written or max(one.delivery.received_at for one in batch) + KEPT_FOR
        self._ingest.write(
            [replace(one, delivery=replace(one.delivery, spooled_on=spooled_on)) for one in batch],
            _patience(),
        )

    def overdue(self, at: datetime, session_id: str, kind: OverdueKind, why: str) -> None:
        self._watch(session_id, Watched(Overdue(kind, at, why)))

    def presume(self, at: datetime, session_id: str, why: str) -> None:
        """That it ended then."""
        self._watch(session_id, Watched(presumed_ended_at=at, presumed_why=why))

    def _watch(self, session_id: str, found: Watched) -> None:
        with self._begin() as db:
            batch = Batch(db)
            batch.put(session_watch, [watched.row(session_id, self._now, found)], "session_id")
            batch.write()

    def reject(self, at: datetime, reason: str, **claimed: str) -> None:
        headers: Mapping[str, str] = {}
        one = RejectedDelivery(new_id(), at, 403, reason, None, "POST", None, b"", b"", headers, **claimed)
        with self._begin() as db:
            rejected.add(db, [one])


def _patience() -> float:
    """A deadline that a busy machine keeps too."""
    return time.monotonic() + PATIENCE_SECONDS


def _nothing(_: object) -> None:
    """Nobody waits for a change here, and nothing is left unsaved."""
