"""The databases: filled before a slice, counted after it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select, text

from service.domain.ids import new_id
from service.domain.progress import fold
from service.domain.session import Notice, NoticeKind, Order, Origin, Session
from service.store import keys, schema, sessions
from service.store.engine import Database
from service.store.sessions import IdempotencyKey
from service.store.tables import callback, event, session
from tests.bench.apps import Base, NaiveCallback, NaiveSession
from tests.bench.load import Slice
from tests.bench.post import ACCOUNT, Post, call_sid, session_id, siprec_sid

PATIENCE_SECONDS = 10  # for what was answered from the spool and has yet to reach the database
STORED = 10**9  # the sessions of callbacks that were stored before are numbered from here


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

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _filling(self) -> Iterator[Connection]:
        """One transaction that may take minutes; nothing is left to do in the middle of a slice."""
        with self._database.untimed() as db:
            driver: Any = db.connection.driver_connection
            if self._database.is_sqlite:
                driver.execute("PRAGMA foreign_keys=OFF")  # the keys are known to fit
                with db.begin():
                    yield db
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            else:
                with db.begin():
                    db.execute(text("SET statement_timeout = 0"))
                    db.execute(text("SET session_replication_role = replica"))  # as above
                    yield db
                driver.autocommit = True
                driver.execute("VACUUM ANALYZE")
                driver.execute("CHECKPOINT")


class Ours(Ledger):
    def _fill(self, count: int) -> None:
        schema.upgrade(self._database)
        with self._filling() as db:
            key = keys.recognise(db, keys.create(db, "bench", datetime.now(UTC)))
            assert key is not None
            sessions.insert(db, _accepted(0), IdempotencyKey(key.id))
            _copy_session(db, 0, 1, count)

    def store(self, count: int) -> None:
        """So many callbacks more, with their sessions and timelines, all made after those of session 1."""
        model = session_id(1)
        with self._filling() as db:
            query = select(func.count()).select_from(callback).where(callback.c.session_id == model)
            copies = count // db.execute(query).scalar_one()
            _copy_session(db, 1, STORED, copies)
            whose, ids = _numbered(session_id), f"substr(model.id, 1, 24) || {_DIGITS}"
            _copy(db, callback, "session_id", model, STORED, copies, session_id=whose, id=ids)
            _copy(db, event, "session_id", model, STORED, copies, session_id=whose)

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


class Naive(Ledger):
    """A row for every delivery, repeats included, and a count of them with each session."""

    def _fill(self, count: int) -> None:
        Base.metadata.create_all(self._database.engine)
        rows = [{"id": session_id(n), "state": "accepted", "callbacks": 0} for n in range(1, count + 1)]
        with self._filling() as db:
            db.execute(insert(NaiveSession), rows)

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


def _told(post: Post, sent: Slice) -> tuple[Counter[bytes], Counter[bytes]]:
    """How often each body was sent, and how often answered 200."""
    bodies = post.bodies[sent.first : sent.first + len(sent.statuses)]
    kept = (body for body, status in zip(bodies, sent.statuses, strict=True) if status == 200)
    return Counter(bodies), Counter(kept)


def _uncounted(db: Connection) -> int:
    """How many callbacks are missing in the counts of their sessions."""
    counted = select(func.coalesce(func.sum(NaiveSession.callbacks), 0)).scalar_subquery()
    return int(db.scalar(select(func.count(NaiveCallback.id) - counted)) or 0)


def _accepted(number: int) -> Session:
    now = datetime.now(UTC)
    order = Order(ACCOUNT, call_sid(number))
    answer = Notice(NoticeKind.ACCEPTED, received_at=now, siprec_sid=siprec_sid(number))
    progress = fold(order, [answer])
    return Session(session_id(number), Origin.API, order, now, now, progress, answer=answer)


# In SQL that both databases speak: twelve digits of n.
_DIGITS = "substr(CAST(1000000000000 + n AS text), 2)"


def _numbered(name: Callable[[int], str]) -> str:
    """`name` of n, in SQL."""
    return f"'{name(0)[:-12]}' || {_DIGITS}"


def _copy_session(db: Connection, model: int, first: int, count: int) -> None:
    new = {"id": session_id, "call_sid": call_sid, "answer_siprec_sid": siprec_sid}
    values = {column: _numbered(name) for column, name in new.items()}
    heard = f"CASE WHEN model.callback_siprec_sid IS NOT NULL THEN {_numbered(siprec_sid)} END"
    _copy(db, session, "id", session_id(model), first, count, **values, callback_siprec_sid=heard)


def _copy(db: Connection, table: Table, of: str, model: str, first: int, count: int, **new: str) -> None:
    """Copy the rows whose `of` is `model`, for every n from `first`; `new` is SQL for what differs."""
    columns = [column.name for column in table.columns if column.name != "sequence"]
    values = [new.get(name, f"model.{name}") for name in columns]
    statement = f"""
        WITH RECURSIVE numbers(n) AS (
            SELECT CAST(:first AS bigint) UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :stop
        )
        INSERT INTO {table.name} ({", ".join(columns)})
        SELECT {", ".join(values)} FROM numbers CROSS JOIN {table.name} AS model WHERE model.{of} = :model"""
    db.execute(text(statement), {"first": first, "stop": first + count, "model": model})
