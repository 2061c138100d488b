"""Makes a callback durable before it is answered: committed together with all that wait, or spooled."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Final

from service.domain.callback import Callback
from service.ledger import spool_entry
from service.ledger.errors import UnknownSession
from service.ledger.ingest import Ingest
from service.ledger.sessions import Sessions
from service.ledger.spool_entry import UnsavedAnswer
from service.spool import Depth, Spool, SpoolUnusable
from service.store.engine import Database, DatabaseConflict, DatabaseError, DatabaseUnavailable

MOST_WAITING: Final = 1000
COMMIT_SECONDS: Final = 0.8  # for a batch, COMMIT included, whatever the database does
ANSWER_SECONDS: Final = 1.5  # from receipt to answer
SPOOL_SECONDS: Final = 0.2  # of these, for the spool
PROBE_SECONDS: Final = 0.25
CONFLICTS: Final = 3

# What a spooled record may meet that the next try will meet too.
UNKEEPABLE: Final = (DatabaseError, spool_entry.UnreadableEntry, UnknownSession)

log = logging.getLogger(__name__)


class NotDurable(Exception):
    """Neither the database nor the spool took it in time. Telnyx has to send it again."""


class _Ticket:
    """A callback whose request's thread waits, until it is settled or has to lead."""

    def __init__(self, told: Callback) -> None:
        self.told = told
        self.came = time.monotonic()
        self.leads = False
        self.is_settled = False
        self.trouble: Exception | None = None
        self._gate = threading.Lock()  # a bare lock wakes a thread for a fraction of what an Event costs
        self._gate.acquire()

    def wake(self) -> None:
        self._gate.release()

    def wait(self, seconds: float) -> bool:
        return self._gate.acquire(timeout=seconds)


class Intake:
    """Group commit by the threads that wait for it.

    Whoever comes while nobody commits commits all that wait: a lone callback at once, in its own thread;
    the busier it gets, the larger the batches. A leader answers its own request once it has committed, and
    leaves the lead to one of those who came meanwhile.
    """

    def __init__(self, database: Database, ingest: Ingest, sessions: Sessions, spool: Spool | None) -> None:
        self._database = database
        self._ingest = ingest
        self._sessions = sessions
        self._spool = spool
        self._turn = threading.Lock()
        self._waiting: list[_Ticket] = []
        self._is_led = False
        # Once the database failed, batches go straight to the spool, until the drain has seen it back.
        self._away = threading.Event()
        self._ended = threading.Event()
        self._drain = threading.Thread(target=self._run_drain, name="drain", daemon=True)

    @property
    def is_away(self) -> bool:
        """Whether the database failed the last time, and has not been seen since."""
        return self._away.is_set()

    def start(self) -> None:
        """After the fork. Raises SpoolUnusable if the spool's folder cannot be written to."""
        if self._spool is not None:
            self._spool.check()
        try:
            self._database.probe(time.monotonic() + COMMIT_SECONDS)
        except DatabaseError as trouble:
            self._leave(trouble)
        self._drain.start()

    def stop(self) -> None:
        """Requests in hand are still kept; what the spool holds is left for others."""
        self._ended.set()
        if self._drain.is_alive():
            self._drain.join(timeout=5)
        if self._spool is not None:
            self._spool.close()

    def keep(self, told: Callback) -> None:
        """Returns once it is durable. Raises NotDurable, within ANSWER_SECONDS."""
        ticket = _Ticket(told)
        with self._turn:
            if len(self._waiting) >= MOST_WAITING:
                raise NotDurable("too many wait")
            self._waiting.append(ticket)
            ticket.leads, self._is_led = not self._is_led, True
        if not ticket.leads and not ticket.wait(ANSWER_SECONDS) and self._withdraw(ticket):
            raise NotDurable("it took too long")
        if ticket.leads:
            self._lead()
        if ticket.trouble:
            raise NotDurable(str(ticket.trouble)) from ticket.trouble

    def _withdraw(self, ticket: _Ticket) -> bool:
        """Whether its thread may go: not if it has just become the leader, or is settled."""
        with self._turn:
            if ticket in self._waiting and not ticket.leads:
                self._waiting.remove(ticket)
            return not (ticket.leads or ticket.is_settled)

    def _lead(self) -> None:
        self._let_others_come()
        with self._turn:
            batch, self._waiting = self._waiting, []
        give_up = min(time.monotonic() + COMMIT_SECONDS, batch[0].came + ANSWER_SECONDS - SPOOL_SECONDS)
        trouble: Exception | None = None
        try:
            self._commit([ticket.told for ticket in batch], give_up)
        except Exception as surprise:  # whatever it is, those who wait must not wait on
            log.error("callbacks not kept: count=%d", len(batch), exc_info=surprise)
            trouble = surprise
        with self._turn:
            successor = self._waiting[0] if self._waiting else None
            self._is_led = successor is not None
            if successor:
                successor.leads = True
            for ticket in batch:
                ticket.is_settled, ticket.trouble = True, trouble
        for ticket in [successor, *batch] if successor else batch:
            ticket.wake()

    def _let_others_come(self) -> None:
        """Whose thread is ready to run comes along, as long as somebody does; nobody waits for a clock."""
        count = 0
        while len(self._waiting) > count:
            count = len(self._waiting)
            os.sched_yield()

    def _commit(self, batch: Sequence[Callback], give_up: float) -> None:
        if not self.is_away:
            try:
                self._hear(batch, give_up)
                return
            except DatabaseUnavailable as trouble:
                self._leave(trouble)
        # If the failed COMMIT went through after all, the delivery ids tell when the spool is drained.
        self._append([spool_entry.pack(told) for told in batch])

    def _hear(self, batch: Sequence[Callback], give_up: float) -> None:
        """One transaction; if it fails for what is in it, one each."""
        try:
            self._insist(batch, give_up)
        except DatabaseUnavailable:
            raise
        except DatabaseError as trouble:
            log.error("callbacks taken apart: count=%d: %s", len(batch), trouble)
            for told in batch:
                self._hear_alone(told, give_up)

    def _hear_alone(self, told: Callback, give_up: float) -> None:
        try:
            self._insist([told], give_up)
        except DatabaseUnavailable:
            raise
        except DatabaseError as trouble:
            log.error("callback kept raw: delivery=%s: %s", told.delivery.id, trouble)
            self._hear_raw(told, give_up)

    def _hear_raw(self, told: Callback, give_up: float) -> None:
        try:
            self._insist([told.raw()], give_up)
        except DatabaseUnavailable:
            raise
        except DatabaseError:  # the drain will set it aside, where a person can look at it
            self._append([spool_entry.pack(told)])

    def _insist(self, batch: Sequence[Callback], give_up: float) -> None:
        for tried in range(1, CONFLICTS + 1):
            try:
                # Fresh from the door, no delivery can be in the ledger before its first try.
                self._ingest.write(batch, give_up, are_fresh=True)
                return
            except DatabaseConflict:
                if tried == CONFLICTS:
                    raise

    def _append(self, packed: Sequence[bytes]) -> None:
        if self._spool is None:
            raise SpoolUnusable("the database is away, and there is no spool")
        self._spool.append(packed)

    def _leave(self, trouble: Exception) -> None:
        if not self.is_away:
            log.error("the database is away, callbacks go to the spool: %s", trouble)
        self._away.set()

    def _run_drain(self) -> None:
        while not self._ended.wait(PROBE_SECONDS):
            try:
                self.drain()
            except DatabaseUnavailable as trouble:
                self._leave(trouble)
            except Exception:  # a drain that dies is noticed by nobody
                log.exception("the drain stumbled, and goes on")

    def drain(self) -> None:
        """Once, if there is a reason to. Raises DatabaseUnavailable."""
        has_spooled = self._spool is not None and self._spool.age() is not None
        if not (self.is_away or has_spooled):
            return
        self._database.probe(time.monotonic() + COMMIT_SECONDS)
        if self.is_away:
            log.info("the database is back")
            self._away.clear()
        if self._spool is not None and has_spooled:
            count = self._spool.drain(self._keep_spooled)
            log.info("spool drained: count=%d", count)

    def _keep_spooled(self, batch: Sequence[bytes]) -> None:
        try:
            self._write(batch)
        except DatabaseUnavailable:
            raise
        except UNKEEPABLE:
            for record in batch:
                self._keep_alone(record)

    def _keep_alone(self, record: bytes) -> None:
        try:
            self._write([record])
        except DatabaseUnavailable:
            raise
        except UNKEEPABLE as trouble:
            assert self._spool is not None
            log.error("spooled record set aside: %s", trouble)
            self._spool.set_aside(record)

    def _write(self, batch: Sequence[bytes]) -> None:
        kept = [spool_entry.unpack(record) for record in batch]
        told = [one for one in kept if isinstance(one, Callback)]
        if told:
            self._ingest.write(told)
        for owed in (one for one in kept if isinstance(one, UnsavedAnswer)):
            self._sessions.save_answer(owed)

    def depth(self) -> Depth | None:
        """What the spool holds; None if there is none."""
        return self._spool.depth() if self._spool is not None else None

    def spool_age(self) -> float | None:
        return self._spool.age() if self._spool is not None else None
