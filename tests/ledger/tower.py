"""A watch whose clock does not have to be waited for: what is due later is made due now."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from service.domain.deadlines import Limits
from service.domain.ids import new_id
from service.domain.notice import Error, ErrorKind, Notice, NoticeKind
from service.domain.overdue import Call, Watched
from service.domain.session import Origin, Session
from service.domain.start import Order
from service.ledger.look import Answer, Question
from service.ledger.transaction import Transaction
from service.ledger.watch import Decided, Watch
from service.store import feed, keys, sessions
from service.store.columns import read_back
from service.store.engine import Database
from service.store.events import EventKind
from service.store.sessions import IdempotencyKey
from tests.ledger.desk import Desk, now
from tests.ledger.lines import number_all


class Permits:
    """Telnyx can be asked for the calls of these accounts."""

    def __init__(self, *accounts: str) -> None:
        self.accounts: Collection[str] = accounts
        self.has_budget = True

    def is_possible(self, account_sid: str) -> bool:
        return account_sid in self.accounts

    def may(self, account_sid: str) -> bool:
        return self.has_budget and self.is_possible(account_sid)


class Tower:
    """A watch over `database`."""

    def __init__(self, database: Database, *accounts: str) -> None:
        self.database = database
        self.permits = Permits(*accounts)
        self.watch = Watch(database, Limits(), self.permits)

    def follow(self) -> None:
        number_all(self.database)
        while self.watch.follow():
            pass

    def pass_time(self, time: timedelta) -> None:
        """All that the watch has written down happened earlier by so much; what is final stays."""
        moments = {
            "due": ("since", "next_at", "tried_at"),
            "session_watch": ("call_checked_at", "overdue_since"),
        }
        with self.database.begin() as db:
            for table, names in moments.items():
                for name in names:
                    if self.database.is_sqlite:
                        seconds = f"-{time.total_seconds()} seconds"
                        value = f"strftime('%Y-%m-%dT%H:%M:%f000Z', {name}, '{seconds}')"
                    else:
                        value = f"{name} - interval '{time.total_seconds()} seconds'"
                    db.execute(text(f"UPDATE {table} SET {name} = {value} WHERE {name} < '9000-01-01'"))

    def look(self, after: timedelta = timedelta(0)) -> Decided:
        """Once this time has passed."""
        self.follow()
        self.pass_time(after)
        return self.watch.decide()

    def earlier(self, question: Question, time: timedelta) -> Question:
        """As it would be had it been asked before that time passed."""
        return replace(question, since=question.since - time, asked_at=question.asked_at - time)

    def answer(self, question: Question, call: Call | None) -> Decided:
        return self.watch.receive([Answer(question, call)])

    def watched(self, session_id: str) -> Watched:
        with self.database.read() as db:
            session = sessions.find(db, session_id, None)
        assert session is not None
        return session.watched

    def next_at(self, session_id: str) -> datetime | None:
        """When it is looked at next, in the year 9999: never; None: nothing is awaited."""
        with self.database.read() as db:
            found = db.execute(text("SELECT session_id, next_at FROM due")).all()
        return {row.session_id: read_back(row.next_at) for row in found}.get(session_id)

    def lines(self, session_id: str) -> list[tuple[str, dict[str, Any]]]:
        """Kind and changes of what the watch wrote about it."""
        number_all(self.database)
        with self.database.read() as db:
            found = feed.lines(db, range(1, feed.last(db).position + 1))
        return [
            (line.kind, line.changes)  # type: ignore[misc]
            for line in found
            if line.subject_id == session_id and EventKind(line.kind).is_of_watch
        ]


def ordered(database: Database, count: int = 1, account_sid: str = "account-1") -> list[str]:
    """Sessions that Telnyx is being asked for; the ids."""
    at = now()
    ids = []
    with database.begin() as db:
        if not keys.listed(db):
            keys.create(db, "an app", at)
        key = IdempotencyKey(keys.listed(db)[0].id)
        for _ in range(count):
            order = Order(account_sid, f"v3:{new_id()}")
            asked = Session(new_id(), Origin.API, order, requested_at=at, updated_at=at)
            sessions.insert(db, replace(asked, deadline_at=at + timedelta(minutes=1)), key)
            sessions.add_attempt(db, asked.id, 1, "an app", at)
            ids.append(asked.id)
    return ids


def answered(database: Database, ids: Collection[str], kind: NoticeKind = NoticeKind.ACCEPTED) -> None:
    error = None if kind is NoticeKind.ACCEPTED else Error(ErrorKind.NO_ANSWER)
    with database.begin() as db:
        transaction = Transaction(db, now(), ids)
        for id in ids:
            sid = f"sid-{id}" if kind is NoticeKind.ACCEPTED else None
            transaction.answer(id, Notice(kind, received_at=now(), siprec_sid=sid, error=error))
        transaction.close()


def stop_requested(database: Database, session_id: str) -> None:
    with database.begin() as db:
        transaction = Transaction(db, now(), [session_id])
        transaction.request_stop(session_id, "an app")
        transaction.close()


def called_back(desk: Desk, session_id: str, event: str) -> None:
    """A callback that names its session, as our URL does."""
    with desk.database.begin() as db:
        locked = next(iter(sessions.lock(db, [session_id])))
        came = desk.callback(f"sid-{session_id}", event, CallSid=locked.call_sid)
        transaction = Transaction(db, now(), [session_id])
        transaction.add([(came, session_id)])
        transaction.close()
