"""The databases: filled before a slice, counted after it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from service.domain.ids import new_id
from service.store import keys, schema
from service.store.columns import written_out
from service.store.engine import Database
from service.store.tables import callback, rejected_delivery, session, session_attempt
from tests.bench import bulk
from tests.bench.apps import Base, NaiveCallback, NaiveSession
from tests.bench.data import Made
from tests.bench.load import Slice
from tests.bench.post import ACCOUNT, Post, call_sid, session_id, siprec_sid

PATIENCE_SECONDS = 10  # for what was answered from the spool and has yet to reach the database
SETTLE_SECONDS = 60
UNCHANGED_SECONDS = 1  # the service writes the next 50 after a twentieth of it

# Of a session that Telnyx accepted, and whose callbacks are expected.
SESSION = (
    *("id", "origin", "account_sid", "call_sid", "status_callback_method", "labels"),
    *("requested_at", "attempts", "answer", "answered_at", "answer_siprec_sid"),
    *("state", "accepted_at", "callbacks", "updated_at"),
)
ATTEMPT = ("session_id", "number", "actor", "asked_at", "answer", "answered_at", "siprec_sid")


@dataclass(frozen=True)
class Audit:
    """What slices left in the database, against what was answered 200."""

    answered: int = 0
    lost: int = 0
    twice: int = 0
    miscounted: int = 0

    def __add__(self, other: Audit) -> Audit:
        return Audit(*(one + more for one, more in zip(astuple(self), astuple(other), strict=True)))


class Ledger(ABC):
    """A database with `count` sessions, numbered from 1, that expect their callbacks."""

    def __init__(self, url: str, count: int) -> None:
        self.url = url
        self._database = Database(url)
        self._fill(count)

    @abstractmethod
    def _fill(self, count: int) -> None: ...

    @abstractmethod
    def mark(self) -> object:
        """What is stored from now on comes after it."""

    @abstractmethod
    def count(self, mark: object, post: Post, sent: Slice) -> Audit:
        """What was stored after `mark`, held against `sent`."""

    def audit(self, mark: object, post: Post, sent: Slice) -> Audit:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while (found := self.count(mark, post, sent)).lost and time.monotonic() < give_up:
            time.sleep(0.2)
        return found

    def settle(self) -> None:  # noqa: B027
        """Wait until nothing more is written: it would be in the way of who is measured next."""

    def close(self) -> None:
        self._database.close()


class Ours(Ledger):
    """`stored` sessions more are over and have their callbacks; `api_key` reads."""

    def __init__(self, url: str, count: int, stored: int = 0) -> None:
        self._stored = stored
        super().__init__(url, count)

    def _fill(self, count: int) -> None:
        schema.upgrade(self._database)
        with bulk.filling(self._database) as filled:
            Made(self._stored).fill(filled)
            self.api_key = keys.create(filled.db, "bench", datetime.now(UTC))
            add_sessions(filled, range(1, count + 1), datetime.now(UTC))
            self._add(filled.db)

    def _add(self, db: Connection) -> None:
        """What else is stored."""

    def mark(self) -> object:
        time.sleep(0.002)  # ids of the same millisecond have no order
        return new_id()

    def count(self, mark: object, post: Post, sent: Slice) -> Audit:
        asked, answered = _told(post, sent)
        with self._database.read() as db:
            query = select(callback.c.body, callback.c.deliveries).where(callback.c.id > mark)
            rows = db.execute(query).all()
        times = Counter(body for body, _ in rows)
        deliveries = dict(rows)
        return Audit(
            answered=answered.total(),
            lost=sum(body not in deliveries for body in answered),
            twice=sum(many > 1 for many in times.values()),
            miscounted=sum(not answered[body] <= many <= asked[body] for body, many in deliveries.items()),
        )

    def settle(self) -> None:
        """What was rejected is stored in its own time, and what is too much of it deleted."""
        seen, give_up = self._rejected(), time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < give_up:
            time.sleep(UNCHANGED_SECONDS)
            before, seen = seen, self._rejected()
            if seen == before:
                return

    def _rejected(self) -> tuple[Any, ...]:
        """How many there are, and which was the last: changes with each that is stored or deleted."""
        query = select(func.count(), func.max(rejected_delivery.c.sequence))
        with self._database.read() as db:
            return tuple(db.execute(query).one())


class Naive(Ledger):
    """A row for every delivery, repeats included, and a count of them with each session."""

    def _fill(self, count: int) -> None:
        Base.metadata.create_all(self._database.engine)
        rows = [{"id": session_id(n), "state": "accepted", "callbacks": 0} for n in range(1, count + 1)]
        with bulk.filling(self._database) as filled:
            filled.db.execute(insert(NaiveSession), rows)

    def mark(self) -> object:
        with self._database.read() as db:
            return db.scalar(select(func.coalesce(func.max(NaiveCallback.id), 0))), _uncounted(db)

    def count(self, mark: object, post: Post, sent: Slice) -> Audit:
        assert isinstance(mark, tuple)
        last, uncounted = mark
        asked, answered = _told(post, sent)
        with self._database.read() as db:
            stored = Counter(db.scalars(select(NaiveCallback.body).where(NaiveCallback.id > last)))
            miscounted = _uncounted(db) - uncounted
        return Audit(answered.total(), (answered - stored).total(), (stored - asked).total(), miscounted)


def add_sessions(filled: bulk.Filling, numbers: Sequence[int], accepted_at: datetime) -> None:
    """That expect their callbacks."""
    moment = written_out(accepted_at)
    filled.add(session, SESSION, [_session(number, moment) for number in numbers])
    filled.add(session_attempt, ATTEMPT, [_attempt(number, moment) for number in numbers])


def _told(post: Post, sent: Slice) -> tuple[Counter[bytes], Counter[bytes]]:
    """How often each body was sent, and how often answered 200."""
    bodies = post.bodies[sent.first : sent.first + len(sent.statuses)]
    kept = (body for body, status in zip(bodies, sent.statuses, strict=True) if status == 200)
    return Counter(bodies), Counter(kept)


def _uncounted(db: Connection) -> int:
    """How many callbacks are missing in the counts of their sessions."""
    counted = select(func.coalesce(func.sum(NaiveSession.callbacks), 0)).scalar_subquery()
    return int(db.scalar(select(func.count(NaiveCallback.id) - counted)) or 0)


def _session(number: int, now: str) -> tuple[Any, ...]:
    asked = (session_id(number), "api", ACCOUNT, call_sid(number), "POST", "{}", now, 1)
    return (*asked, "accepted", now, siprec_sid(number), "accepted", now, 0, now)


def _attempt(number: int, now: str) -> tuple[Any, ...]:
    return (session_id(number), 1, "bench", now, "accepted", now, siprec_sid(number))
