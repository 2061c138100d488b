"""What the callback endpoint rejected: stored in its own time, and judged again once a setting is right."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Final

from sqlalchemy import Connection

from service.domain.callback import Callback, Delivery
from service.ledger.ingest import Ingest
from service.log_lines import fact, fields
from service.store import rejected
from service.store.engine import Database, DatabaseUnavailable, RecordRefused
from service.store.rejected import RejectedDelivery
from service.telnyx.callback import Reader, RejectedCallback
from service.telnyx.callback_form import Form

LARGEST_IN_MEMORY: Final = 16 * 1024 * 1024  # bytes
OVERHEAD: Final = 1024  # bytes of a delivery besides query, body and headers
# A transaction holds SQLite's write lock; callbacks get their turn between two.
LARGEST_BATCH: Final = 256 * 1024  # bytes
MOST_IN_BATCH: Final = 50
PAUSE_SECONDS: Final = 0.05
WRITE_SECONDS: Final = 2.0
BATCHES_AT_ONCE: Final = 20
LONGEST_CLAIM: Final = 255
# Telnyx's callbacks have less. Of larger ones no account and call are read: whoever forges them would have
# us parse 64 KiB for 40 ms, while the event loop waits for the interpreter.
LARGEST_FORM: Final = 4 * 1024
LOG_EVERY: Final = timedelta(minutes=1)
COUNT_EVERY: Final = timedelta(seconds=5)
RETRY_BATCH: Final = 20

log = logging.getLogger(__name__)


class RejectedQueue:
    """`offer` is for the loop, the rest for other threads, of which a second one waits for the first."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[RejectedDelivery] = deque()
        # Each has one thread that counts it up, so that the loop needs no lock.
        self._offered = self._dropped = 0  # bytes, and how many; by the loop
        self._taken = self._logged = 0  # the same, by who stores
        self._writing = threading.Lock()
        self._added: set[str] = set()  # the reasons of which there may be too many
        self._logged_at: datetime | None = None
        self._counted_at: datetime | None = None
        self.offers = 0  # that came, whether there was room or not
        self.stored: int | None = None  # how many are in the database, as far as is known

    def offer(self, delivery: Delivery, reason: str, status: int) -> None:
        """Never waits; where there is no room, it is only counted."""
        self.offers += 1
        new = RejectedDelivery(
            delivery_id=delivery.id,
            received_at=delivery.received_at,
            answered=status,
            reason=reason,
            peer=delivery.peer,
            method=delivery.method,
            token=delivery.token,
            query=delivery.query,
            body=delivery.body,
            headers=delivery.evidence,
        )
        if not self._add(new):
            return
        log.warning("callback rejected", extra=fields(delivery_id=delivery.id, status=status, reason=reason))

    def _add(self, new: RejectedDelivery) -> bool:
        size = _size(new)
        has_room = self._offered - self._taken + size <= LARGEST_IN_MEMORY
        if has_room:
            self._offered += size
            self._waiting.append(new)
        else:
            self._dropped += 1
        return has_room

    def write(self, now: datetime) -> None:
        """Store what waits, but not for long, and delete what is too much; each in small transactions.

        Nothing while the database takes no writes. Raises DatabaseError.
        """
        self._log_dropped(now)
        with self._writing:
            for _ in range(BATCHES_AT_ONCE):
                if not (self._waiting and self._database.breaker.takes_writes):
                    break
                self._write_batch()
                time.sleep(PAUSE_SECONDS)
            if self._database.breaker.takes_writes:
                self._thin()
                self._count(now)

    def flush(self, seconds: float) -> None:
        """Store all that waits, as far as so many seconds go. Raises DatabaseError."""
        deadline = time.monotonic() + seconds
        if not self._writing.acquire(timeout=seconds):
            return
        try:
            while self._waiting and self._database.breaker.takes_writes and time.monotonic() < deadline:
                self._write_batch()
        finally:
            self._writing.release()

    def _write_batch(self) -> None:
        """Together; one by one, if it holds what the database refuses."""
        left = deque([self._take()])
        while left:
            batch = left[0]
            try:
                self._store(batch)
            except RecordRefused as error:
                if len(batch) == 1:
                    named = fields(delivery_id=batch[0].delivery_id, error=error)
                    log.error("rejected callback not stored", extra=named)
                else:
                    left.extend([one] for one in batch)
            except DatabaseUnavailable:
                self._put_back(list(chain.from_iterable(left)))
                raise
            except BaseException:
                log.error("rejected callbacks dropped", extra=fields(count=sum(map(len, left))))
                raise
            left.popleft()

    def _put_back(self, batch: Sequence[RejectedDelivery]) -> None:
        self._taken -= sum(map(_size, batch))
        self._waiting.extendleft(reversed(batch))

    def _take(self) -> list[RejectedDelivery]:
        batch: list[RejectedDelivery] = []
        total = 0
        while self._waiting and len(batch) < MOST_IN_BATCH:
            size = _size(self._waiting[0])
            if batch and total + size > LARGEST_BATCH:
                break
            batch.append(self._waiting.popleft())
            total += size
        self._taken += total
        return batch

    def _store(self, batch: Sequence[RejectedDelivery]) -> None:
        claimed = [_with_claims(one) for one in batch]
        with self._begin() as db:
            rejected.add(db, claimed)
        self._added |= {one.reason for one in batch}
        self._counted_at = None

    def _thin(self) -> None:
        for reason in sorted(self._added):
            with self._database.read() as db:
                surplus = rejected.surplus(db, reason)
            self._delete(surplus)
        if self._added:
            with self._database.read() as db:
                oversize = rejected.oversize(db)
            self._delete(oversize)
        self._added.clear()

    def _count(self, now: datetime) -> None:
        if self._counted_at is None or now - self._counted_at >= COUNT_EVERY:
            with self._database.read() as db:
                self.stored, self._counted_at = rejected.count(db), now

    def _delete(self, sequences: Sequence[int]) -> None:
        for start in range(0, len(sequences), MOST_IN_BATCH):
            with self._begin() as db:
                rejected.delete_all(db, sequences[start : start + MOST_IN_BATCH])
            time.sleep(PAUSE_SECONDS)

    def _begin(self) -> AbstractContextManager[Connection]:
        return self._database.begin(time.monotonic() + WRITE_SECONDS)

    def _log_dropped(self, now: datetime) -> None:
        dropped = self._dropped - self._logged
        if dropped and (self._logged_at is None or now - self._logged_at >= LOG_EVERY):
            self._logged += dropped
            self._logged_at = now
            log.error("rejected callbacks not stored, there was no room", extra=fact(count=dropped))


def _size(one: RejectedDelivery) -> int:
    return OVERHEAD + one.size + len(one.token or "") + sum(map(len, one.headers.values()))


def _with_claims(one: RejectedDelivery) -> RejectedDelivery:
    """With the account and the call that it names."""
    if one.size > LARGEST_FORM:
        return one
    form = Form.of(one.method, one.query, one.body)
    account_sid, call_sid = (_cut(form.get(name)) for name in ("AccountSid", "CallSid"))
    return replace(one, account_sid=account_sid, call_sid=call_sid)


def _cut(text: str | None) -> str | None:
    return text[:LONGEST_CLAIM] if text else None


@dataclass(frozen=True)
class Retried:
    """How many callbacks are genuine and in the ledger now, are still rejected, and are genuine and refused
    by the database."""

    stored: int
    rejected: int
    refused: int


def retry(database: Database, ingest: Ingest, reader: Reader) -> Retried:
    """Judge everything that was rejected again, oldest first. May be broken off and repeated.

    Raises DatabaseError.
    """
    stored = still_rejected = refused = sequence = 0
    while True:
        with database.read() as db:
            batch = rejected.oldest(db, sequence, RETRY_BATCH)
        if not batch:
            return Retried(stored, still_rejected, refused)
        for sequence, one in batch:
            try:
                callback = reader.read(_delivery(one))
            except RejectedCallback:
                still_rejected += 1
                continue
            try:
                _write(ingest, callback)
            except RecordRefused as error:
                named = fields(delivery_id=one.delivery_id, error=error)
                log.error("rejected callback is genuine, not stored", extra=named)
                refused += 1
                continue
            with database.begin() as db:
                rejected.delete_all(db, [sequence])
            stored += 1


def _write(ingest: Ingest, callback: Callback) -> None:
    """Whole, else raw. A delivery that is there already is passed over."""
    try:
        ingest.write([callback])
    except RecordRefused:
        ingest.write_refused(callback, time.monotonic() + WRITE_SECONDS)


def _delivery(one: RejectedDelivery) -> Delivery:
    return Delivery(
        id=one.delivery_id,
        received_at=one.received_at,
        method=one.method,
        token=one.token,
        query=one.query,
        headers=one.headers,
        body=one.body,
        peer=one.peer,
        answered=one.answered,
    )
