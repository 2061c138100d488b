"""What did not happen in time is found, told to the ledger, and taken back when it happens after all.

A verdict may be wrong at the very moment it is written: a callback may be committed meanwhile. Its event is
numbered after that, `follow` comes to it, waits for whoever holds the session's row of `due`, and closes it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from service.domain.deadlines import SHORTEST_PAUSE, Limits
from service.domain.overdue import Watched
from service.ledger.following import Following, deadline_of
from service.ledger.look import HEARD_WITHIN, Answer, Asking, Look, Question
from service.ledger.watch_log import WatchLog
from service.ledger.watch_pace import Portion, Turns
from service.store import blindness, due, unseen, watching
from service.store.batch import Batch
from service.store.due import NEVER, Due
from service.store.engine import Database
from service.store.processes import now_of

GRACE: Final = timedelta(seconds=3)  # for Telnyx's answer; then it is decided without one
BLIND_PAUSE: Final = timedelta(seconds=15)
BLIND_PER_SECOND: Final = 200  # so many of them are looked at again; where there are more, later
HEARING_PAUSE: Final = timedelta(seconds=0.5)
SIGHTED_AFTER: Final = timedelta(seconds=25)  # by then it is known which hosts were not seen


@dataclass(frozen=True)
class Decided:
    """So many were looked at. `found` is session id, before, after; `questions` are to be asked.

    `early` are answers to be given again in a moment. `is_all`: nothing else was due.
    """

    looked_at: int = 0
    found: Sequence[tuple[str, Watched, Watched]] = ()
    questions: Sequence[Question] = ()
    early: Sequence[Answer] = ()
    is_all: bool = True


class _NothingToDo(Exception):
    """Undoes a transaction that has written nothing: its commit would say that the database takes writes."""


class Watch:
    """Safe to run in any number of processes at once; each of its own by one thread."""

    def __init__(self, database: Database, limits: Limits, asking: Asking) -> None:
        self._database = database
        self._limits = limits
        self._asking = asking
        self._following = Following(limits, asking)
        self._followed = Portion(is_sqlite=database.is_sqlite)
        self._decided = Portion(is_sqlite=database.is_sqlite)
        self._blind_turns = Turns(BLIND_PAUSE, BLIND_PER_SECOND)

    def work(self) -> tuple[bool, bool]:
        """Whether there are events that were not seen, and whether something is due. Raises DatabaseError."""
        with self._database.read() as db:
            return unseen.work(db)

    def follow(self) -> bool:
        """See the next events, of whichever process; whether there were more. Raises DatabaseError."""
        try:
            with self._database.begin() as db:
                began = time.monotonic()
                count, left = self._follow(db)
        except _NothingToDo:
            return False
        self._followed.took(count, time.monotonic() - began)
        return left > 0

    def decide(self) -> Decided:
        """Look at what is due, at so much at most as one transaction may. Raises DatabaseError."""
        try:
            with self._database.begin() as db:
                began = time.monotonic()
                decided = self._decide(db)
        except _NothingToDo:
            return Decided()
        self._decided.took(decided.looked_at, time.monotonic() - began)
        return decided

    def receive(self, answers: Sequence[Answer]) -> Decided:
        """What Telnyx said of calls, a few of them at once. Raises DatabaseError."""
        early: list[Answer] = []
        try:
            with self._database.begin() as db:
                return self._receive(db, answers, early)
        except _NothingToDo:
            return Decided(early=early)

    def _follow(self, db: Connection) -> tuple[int, int]:
        due.prepare(db)
        count, left = self._following.follow(db, self._followed.size)
        if not count:
            raise _NothingToDo
        return count, left

    def _decide(self, db: Connection) -> Decided:
        due.prepare(db)
        now = now_of(db)
        taken = due.take(db, now, self._decided.size)
        if not taken:
            raise _NothingToDo
        looks = self._looks(db, taken)
        log, questions = WatchLog(now), list[Question]()
        later = {one.session_id: self._next(one, looks, log, questions, now) for one in taken}
        _save(db, later, log)
        return Decided(len(taken), log.found, questions, is_all=len(taken) < self._decided.size)

    def _receive(self, db: Connection, answers: Sequence[Answer], early: list[Answer]) -> Decided:
        due.prepare(db)
        now = now_of(db)
        by_id = {answer.question.session_id: answer for answer in answers}
        held = due.lock(db, by_id.keys())
        still = [one for id, one in held.items() if one.since == by_id[id].question.since]
        log, later = WatchLog(now), dict[str, Due | None]()
        for session_id, look in self._looks(db, still).items():
            if look.is_early(now):
                early.append(by_id[session_id])
                continue
            look.learn(by_id[session_id])
            later[session_id] = self._close(look, log, now, look.due.tried_at)
        if not later:
            raise _NothingToDo
        _save(db, later, log)
        return Decided(len(still), log.found, early=early)

    def _looks(self, db: Connection, rows: Collection[Due]) -> dict[str, Look]:
        """Left out are those that wait for something else: that event is followed once it is numbered."""
        if not rows:
            return {}
        subjects = watching.of(db, [one.session_id for one in rows])
        reasons = blindness.Reasons(db, min(one.since for one in rows))
        looks = {}
        for one in rows:
            subject = subjects.get(one.session_id)
            deadline = subject and deadline_of(subject, one.since, self._limits)
            if subject and deadline and deadline.kind is one.kind:
                blind = reasons.since(one.since, deadline.at)
                hosts_will_tell = reasons.is_early(deadline.at)
                looks[one.session_id] = Look(one, subject, deadline, blind, hosts_will_tell=hosts_will_tell)
        return looks

    def _next(
        self, one: Due, looks: Mapping[str, Look], log: WatchLog, questions: list[Question], now: datetime
    ) -> Due | None:
        """Its row from now on; None: there is nothing more to find out."""
        look = looks.get(one.session_id)
        if look is None:
            return one.later(NEVER)
        if not look.is_of_use(now):
            return None
        account_sid = look.subject.account_sid
        asks = look.asks(now) and self._asking.is_possible(account_sid)
        if asks and self._asking.may(account_sid):
            questions.append(look.question(now))
            return replace(one, tried_at=now, next_at=now + GRACE)
        if look.is_early(now):
            return one.later(now + HEARING_PAUSE)
        if not asks:
            return self._close(look, log, now, one.tried_at)
        # Not this time: its turn comes again, as if it had been asked for.
        next_one = self._close(look, log, now, now)
        return next_one and next_one.later(max(next_one.next_at, now + SHORTEST_PAUSE))

    def _close(self, look: Look, log: WatchLog, now: datetime, asked_at: datetime | None) -> Due | None:
        """What is found out is written down. As `_next`."""
        look.judge()
        log.add(look.subject, look.after)
        moments = []
        if self._asking.is_possible(look.subject.account_sid):
            moments.append(look.deadline.asks_at(asked_at, look.after))
        if look.is_undecided:
            moments.append(now + HEARD_WITHIN if look.hosts_will_tell else self._blind_turns.take(now))
        elif look.is_new:
            moments.append(now + SIGHTED_AFTER)
        next_at = min((moment for moment in moments if moment), default=NEVER)
        if next_at == NEVER and look.after.overdue is None:
            return None
        return look.due.later(max(next_at, now))


def _save(db: Connection, later: Mapping[str, Due | None], log: WatchLog) -> None:
    due.remove(db, [session_id for session_id, one in later.items() if one is None])
    batch = Batch(db)
    due.put(batch, [one for one in later.values() if one is not None])
    log.write(batch)
    batch.write()
