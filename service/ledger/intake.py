"""Makes a callback durable before it is answered: committed together with all that wait, or spooled."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from service import metrics
from service.domain.callback import Callback
from service.ledger.backlog import Backlog
from service.ledger.batch_thread import BatchThread
from service.ledger.ingest import Ingest
from service.log_lines import fields
from service.spool import SpoolUnusable
from service.store.breaker import Breaker
from service.store.engine import DatabaseConflict, DatabaseError, DatabaseUnavailable, RecordRefused

MOST_WAITING: Final = 1000  # for an answer, and in the queue of each thread
COMMIT_SECONDS: Final = 0.8  # from receipt; then it goes to the spool
COMMIT_ONLY_SECONDS: Final = 1.3  # where there is no spool
ANSWER_SECONDS: Final = 1.45  # from receipt; then it is not durable
SLOW_SECONDS: Final = 1.0  # from receipt; answers that take longer are counted
MOST_SIGNED: Final = 101
LOOK_SECONDS: Final = 0.05  # how often the loop looks for what is late
LEAST_SECONDS: Final = 0.1  # with less time left, the database is not asked for another transaction
CONFLICT_SECONDS: Final = 0.01
PAUSE_SECONDS: Final = 0.01  # between a batch that is answered and the next that comes
MANY: Final = 16  # callbacks that wait: there are more than the machine can do at once
STOP_SECONDS: Final = 2.0
UNSIGNED: Final = "token"  # what vouches for a callback that nobody signed

log = logging.getLogger(__name__)


class NotDurable(Exception):
    """Neither the database nor the spool took it in time. Telnyx has to send it again."""


class Ticket:
    """A callback whose answer waits. Only the loop changes it."""

    __slots__ = ("callback", "came", "future", "is_answered", "is_late", "is_unspooled")

    def __init__(self, callback: Callback, future: asyncio.Future[None]) -> None:
        self.callback = callback
        self.future = future
        self.came = time.monotonic()
        self.is_late = False  # the spool is to have it, whatever the writer does
        self.is_unspooled = False  # the spool could not take it
        self.is_answered = False


Tickets = Sequence[Ticket]


class Intake:
    """Group commit by one thread, and a second one for the spool; the loop owns the deadlines.

    `keep` belongs to the loop and never blocks. Whoever comes while the writer commits is committed together
    with all that came meanwhile. What is late is spooled while the writer may still be at it: delivery ids
    make a late COMMIT harmless, so long as the drain leaves the spool alone meanwhile (`is_late`).
    """

    def __init__(self, breaker: Breaker, ingest: Ingest, backlog: Backlog) -> None:
        self._breaker = breaker
        self._ingest = ingest
        self._backlog = backlog
        self._commit_seconds = COMMIT_SECONDS if backlog.has_spool else COMMIT_ONLY_SECONDS
        self._writer: BatchThread[Ticket] = BatchThread("writer", self._write)
        self._spooler: BatchThread[Ticket] = BatchThread("spooler", self._spool)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[Ticket] = deque()  # all that are not answered, and some that are
        self._count = 0  # of those that are not
        self._answered_at = -PAUSE_SECONDS  # monotonic, the last that was
        self._is_looking = False
        self._stuck_since = 0.0  # when the batch began that made somebody late
        self._stalled_since = 0.0  # when the one began of which the breaker knows
        self.commits = 0  # how many batches were committed
        self.slow_answers = 0
        # Of the last callbacks that Telnyx signed: telnyx-timestamp, and when they came.
        self.signed: deque[tuple[str, datetime]] = deque(maxlen=MOST_SIGNED)

    @property
    def are_many_waiting(self) -> bool:
        """Whether MANY callbacks are not answered yet; any thread may ask."""
        return self._count >= MANY

    @property
    def is_waited_for(self) -> bool:
        """Whether any callback is not answered yet, or was not PAUSE_SECONDS ago."""
        return self._count > 0 or time.monotonic() < self._answered_at + PAUSE_SECONDS

    @property
    def is_late(self) -> bool:
        """Whether the writer still has in hand what was given to the spool; any thread may ask."""
        return any(ticket.is_late for ticket in self._writer.in_hand)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._writer.start()
        self._spooler.start()

    def stop(self) -> None:
        """What waits is still made durable; bounded. Not on the loop, which has to answer meanwhile."""
        self._writer.stop(STOP_SECONDS)
        self._spooler.stop(STOP_SECONDS)

    def keep(self, callback: Callback) -> asyncio.Future[None]:
        """On the loop. Done once the callback is durable; raises NotDurable, here or there, if it is not."""
        takes_writes = self._breaker.takes_writes
        if not (takes_writes or self._backlog.has_spool):
            raise NotDurable("the database is unavailable, and there is no spool")
        writes = takes_writes and not self._is_stuck and self._writer.waiting < MOST_WAITING
        # A thread that hangs holds on to what was answered 503, too.
        if self._count >= MOST_WAITING or not (writes or self._spool_room):
            raise NotDurable("too many wait")
        if callback.verified_by != UNSIGNED:
            delivery = callback.delivery
            self.signed.append((delivery.headers.get("telnyx-timestamp", ""), delivery.received_at))
        ticket = Ticket(callback, self._running.create_future())
        self._waiting.append(ticket)
        self._count += 1
        if writes:
            self._writer.put(ticket)
        else:
            self._give_to_spool([ticket])
        if not self._is_looking:
            self._is_looking = True
            self._running.call_later(LOOK_SECONDS, self._look)
        return ticket.future

    @property
    def _is_stuck(self) -> bool:
        """Whether the writer has the batch still that made somebody late."""
        return bool(self._writer.in_hand) and self._writer.began == self._stuck_since

    @property
    def _spool_room(self) -> int:
        return max(0, MOST_WAITING - self._spooler.waiting) if self._backlog.has_spool else 0

    @property
    def _running(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None, "it was not started"
        return self._loop

    # On the loop

    def _look(self) -> None:
        """For what is late, and for a writer that is stuck, as long as there is anything."""
        now = time.monotonic()
        unanswered = [ticket for ticket in self._waiting if not ticket.is_answered]
        self._answer([one for one in unanswered if now - one.came >= ANSWER_SECONDS], NotDurable("too late"))
        if self._backlog.has_spool:
            late = [one for one in unanswered if now - one.came >= COMMIT_SECONDS and not one.is_late]
            self._give_to_spool(late)
        self._waiting = deque(one for one in unanswered if not one.is_answered)
        is_writing, began = bool(self._writer.in_hand), self._writer.began
        if self.is_late:
            self._stuck_since = began
        if is_writing and now - began >= self._commit_seconds and began != self._stalled_since:
            self._stalled_since = began
            self._breaker.stalled()
        self._is_looking = is_writing or bool(self._waiting)
        if self._is_looking:
            self._running.call_later(LOOK_SECONDS, self._look)

    def _give_to_spool(self, tickets: Tickets) -> None:
        """As many of them as there is room for."""
        for ticket in tickets[: self._spool_room]:
            ticket.is_late = True
            self._spooler.put(ticket)

    def _answer(self, tickets: Tickets, error: NotDurable | None) -> None:
        if tickets:
            self._answered_at = time.monotonic()
        for ticket in tickets:
            if ticket.is_answered:
                continue
            ticket.is_answered = True
            self._count -= 1
            if self._answered_at - ticket.came > SLOW_SECONDS:
                self.slow_answers += 1
            if ticket.future.done():  # the client has left
                continue
            if error is None:
                ticket.future.set_result(None)
            else:
                ticket.future.set_exception(error)

    def _not_committed(self, tickets: Tickets, error: BaseException) -> None:
        left = [ticket for ticket in tickets if not ticket.is_answered]
        if not left:
            return
        self._give_to_spool([ticket for ticket in left if not ticket.is_late])
        lost = [ticket for ticket in left if ticket.is_unspooled or not ticket.is_late]
        log.error(
            "callbacks not committed",
            extra=fields(given_to_spool=len(left) - len(lost), answered_503=len(lost), error=error),
        )
        self._answer(lost, NotDurable(f"{type(error).__name__}: {error}"))

    def _not_spooled(self, tickets: Tickets, error: BaseException) -> None:
        log.error("callbacks not spooled", extra=fields(count=len(tickets), error=error))
        for ticket in tickets:
            ticket.is_unspooled = True
        in_hand = set(self._writer.in_hand)  # which may still be committed
        left = [ticket for ticket in tickets if ticket not in in_hand]
        self._answer(left, NotDurable(f"{type(error).__name__}: {error}"))

    # On the threads

    def _call_on_loop(self, what: Callable[..., None], *arguments: object) -> None:
        try:
            self._running.call_soon_threadsafe(what, *arguments)
        except RuntimeError:  # the loop has ended, and all who waited with it
            log.warning("event loop has ended, result of a batch not reported")

    def _write(self, batch: Tickets) -> None:
        # Asked after they are in hand, so that whoever becomes late now is seen by `is_late`.
        self._writer.in_hand = batch = [ticket for ticket in batch if not ticket.is_late]
        try:
            self._commit(batch, time.monotonic() + self._commit_seconds)
        except BaseException as error:
            self._writer.in_hand = ()
            self._call_on_loop(self._not_committed, batch, error)
            if not isinstance(error, DatabaseError):
                raise

    def _commit(self, batch: Tickets, deadline: float, *, are_fresh: bool = True) -> None:
        """The batch; by halves, if it holds what the database refuses. Raises DatabaseUnavailable.

        `are_fresh`: none was tried before. What fails may have written a part of what it was given.
        """
        if not batch:
            return
        try:
            written = [ticket.callback for ticket in batch]
            self._insist(
                lambda is_first: self._ingest.write(written, deadline, are_fresh=are_fresh and is_first),
                deadline,
                len(written),
            )
        except RecordRefused as error:
            if len(batch) == 1:
                self._commit_refused(batch[0], deadline)
                return
            log.error("batch refused, retrying by halves", extra=fields(count=len(batch), error=error))
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                self._commit(half, deadline, are_fresh=False)
        else:
            self._call_on_loop(self._answer, batch, None)

    def _commit_refused(self, ticket: Ticket, deadline: float) -> None:
        try:
            self._insist(lambda _: self._ingest.write_refused(ticket.callback, deadline), deadline, 1)
        except RecordRefused as error:  # the drain makes a dead letter of it
            self._call_on_loop(self._not_committed, [ticket], error)
        else:
            self._call_on_loop(self._answer, [ticket], None)

    def _insist(self, write: Callable[[bool], object], deadline: float, size: int) -> None:
        """Again, as long as it is only others who come in the way. Raises DatabaseError.

        `write` is told whether it is the first try, and writes `size` callbacks.
        """
        is_first = True
        while True:
            began = time.monotonic()
            if began > deadline - LEAST_SECONDS:
                raise DatabaseUnavailable("there is no time left")
            try:
                write(is_first)
                self.commits += 1
                with metrics.counting():
                    metrics.count_batch(size, time.monotonic() - began)
                return
            except DatabaseConflict as error:
                log.warning("batch came in conflict, trying again", extra=fields(error=error))
                is_first = False
                time.sleep(CONFLICT_SECONDS)

    def _spool(self, batch: Tickets) -> None:
        try:
            self._backlog.save([ticket.callback for ticket in batch])
        except BaseException as error:
            self._call_on_loop(self._not_spooled, batch, error)
            if not isinstance(error, SpoolUnusable):
                raise
        else:
            self._call_on_loop(self._answer, batch, None)
            with metrics.counting():
                metrics.count_spooled(len(batch))
