"""What did not happen in time is found, told to the ledger, and taken back when it happens after all.

A verdict may be wrong at the very moment it is written: a callback may be committed meanwhile. Its event is
numbered after that, `follow` comes to it, waits for whoever holds the session's row of `due`, and closes it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from sqlalchemy import Connection

from service.domain import deadlines
from service.domain.deadlines import SHORTEST_PAUSE, Deadline, Limits
from service.domain.overdue import Call, OverdueKind, Watched
from service.ledger.watch_log import WatchLog
from service.store import blindness, due
from service.store.blindness import Blindness
from service.store.due import NEVER, Due, Watching
from service.store.engine import Database
from service.store.processes import now_of

SEEN_AT_ONCE: Final = 500
DECIDED_AT_ONCE: Final = 500
# A transaction holds SQLite's write lock for 20 ms at most; callbacks get their turn between two.
SQLITE_SEEN_AT_ONCE: Final = 50
SQLITE_DECIDED_AT_ONCE: Final = 30
GRACE: Final = timedelta(seconds=3)  # for Telnyx's answer; then it is decided without one
BLIND_PAUSE: Final = timedelta(seconds=15)
HEARD_WITHIN: Final = timedelta(seconds=4)  # by then every host says what waits there, or it is unknown
HEARING_PAUSE: Final = timedelta(seconds=0.5)
SIGHTED_AFTER: Final = timedelta(seconds=25)  # by then it is known which hosts were not seen


class Asking(Protocol):
    """Whether Telnyx can be asked for calls of an account; and, of each question, whether it may be now."""

    def is_possible(self, account_sid: str) -> bool: ...

    def may(self, account_sid: str) -> bool: ...


@dataclass(frozen=True)
class Question:
    """About the call of a session that waits for something since then."""

    session_id: str
    since: datetime
    account_sid: str
    call_sid: str
    asked_at: datetime  # the database's clock


@dataclass(frozen=True)
class Answer:
    """`call` is None: Telnyx does not know it."""

    question: Question
    call: Call | None


@dataclass(frozen=True)
class Decided:
    """So many were looked at. `found` is session id, before, after; `questions` are to be asked.

    `early` are answers to be given again in a moment.
    """

    looked_at: int = 0
    found: Sequence[tuple[str, Watched, Watched]] = ()
    questions: Sequence[Question] = ()
    early: Sequence[Answer] = ()


class _NothingToDo(Exception):
    """Undoes a transaction that has written nothing: its commit would say that the database takes writes."""


class Watch:
    """Safe to run in any number of processes at once."""

    def __init__(self, database: Database, limits: Limits, asking: Asking) -> None:
        self._database = database
        self._limits = limits
        self._asking = asking
        is_sqlite = database.is_sqlite
        self._seen_at_once = SQLITE_SEEN_AT_ONCE if is_sqlite else SEEN_AT_ONCE
        self._decided_at_once = SQLITE_DECIDED_AT_ONCE if is_sqlite else DECIDED_AT_ONCE

    def work(self) -> tuple[bool, bool]:
        """Whether there are events that were not seen, and whether something is due. Raises DatabaseError."""
        with self._database.read() as db:
            return due.is_behind(db), due.has_due(db, now_of(db))

    def follow(self) -> bool:
        """See the next events, of whichever process; whether there may be more. Raises DatabaseError."""
        try:
            with self._database.begin() as db:
                return self._follow(db)
        except _NothingToDo:
            return False

    def decide(self) -> Decided:
        """Look at what is due, at so much at most as one transaction may. Raises DatabaseError."""
        try:
            with self._database.begin() as db:
                return self._decide(db)
        except _NothingToDo:
            return Decided()

    def receive(self, answers: Sequence[Answer]) -> Decided:
        """What Telnyx said of calls, a few of them at once. Raises DatabaseError."""
        early: list[Answer] = []
        try:
            with self._database.begin() as db:
                return self._receive(db, answers, early)
        except _NothingToDo:
            return Decided(early=early)

    def _follow(self, db: Connection) -> bool:
        due.prepare(db)
        position = due.take_turn(db)
        if position is None:
            raise _NothingToDo
        seen = due.seen(db, position, self._seen_at_once)
        if seen.position == position:
            raise _NothingToDo
        held = due.lock(db, seen.since.keys())
        subjects = due.watching(db, seen.since.keys())  # only now: nobody finds out more meanwhile
        now = now_of(db)
        waiting = (self._waits(subject, seen.since[id], now) for id, subject in subjects.items())
        new = {one.session_id: one for one in waiting if one is not None}
        log = WatchLog(db, now)
        for session_id, subject in subjects.items():
            overdue = subject.watched.overdue
            if overdue and (session_id not in new or new[session_id].kind is not overdue.kind):
                log.add(subject, replace(subject.watched, overdue=None))
        due.remove(db, held.keys() - new.keys())
        due.put(db, list(new.values()))
        log.write()
        due.move(db, seen.position)
        return True

    def _waits(self, subject: Watching, since: datetime, now: datetime) -> Due | None:
        deadline = self._deadline(subject, since)
        if deadline is None or deadline.is_too_late(now):
            return None
        if deadline.kind is OverdueKind.STOPPED_EARLY and not self._asking.is_possible(subject.account_sid):
            return None  # nobody else can say that its call goes on
        return Due(subject.session_id, deadline.kind, since, deadline.at)

    def _deadline(self, subject: Watching, since: datetime) -> Deadline | None:
        kind = deadlines.awaited(
            subject.state, is_stop_requested=subject.is_stop_requested, is_merged=subject.is_merged
        )
        return None if kind is None else Deadline(kind, since, self._limits.of(kind))

    def _decide(self, db: Connection) -> Decided:
        due.prepare(db)
        now = now_of(db)
        taken = due.take(db, now, self._decided_at_once)
        if not taken:
            raise _NothingToDo
        looks = self._looks(db, taken)
        log, later, questions = WatchLog(db, now), [], []
        for one in taken:
            look = looks.get(one.session_id)
            if look is None:
                later.append(replace(one, next_at=NEVER))
            elif look.asks(now) and self._asking.may(look.subject.account_sid):
                questions.append(look.question(now))
                later.append(replace(one, tried_at=now, next_at=now + GRACE))
            elif look.is_early(now):
                later.append(replace(one, next_at=now + HEARING_PAUSE))
            elif look.asks(now) and self._asking.is_possible(look.subject.account_sid):
                # Not this time: its turn comes again.
                later.append(self._close(look, one.tried_at, log, now, now + SHORTEST_PAUSE))
            else:
                later.append(self._close(look, one.tried_at, log, now, now))
        due.put(db, later)
        log.write()
        return Decided(len(taken), log.found, questions)

    def _receive(self, db: Connection, answers: Sequence[Answer], early: list[Answer]) -> Decided:
        due.prepare(db)
        now = now_of(db)
        by_id = {answer.question.session_id: answer for answer in answers}
        held = due.lock(db, by_id.keys())
        still = [one for id, one in held.items() if one.since == by_id[id].question.since]
        log, later = WatchLog(db, now), []
        for session_id, look in self._looks(db, still).items():
            if look.is_early(now):
                early.append(by_id[session_id])
                continue
            look.learn(by_id[session_id])
            later.append(self._close(look, look.due.tried_at, log, now, now))
        if not later:
            raise _NothingToDo
        due.put(db, later)
        log.write()
        return Decided(len(still), log.found, early=early)

    def _looks(self, db: Connection, rows: Collection[Due]) -> dict[str, _Look]:
        """Left out are those that wait for something else: that event is followed once it is numbered."""
        subjects = due.watching(db, [one.session_id for one in rows])
        reasons = blindness.Reasons(db, min(one.since for one in rows)) if rows else None
        looks = {}
        for one in rows:
            subject = subjects.get(one.session_id)
            deadline = subject and self._deadline(subject, one.since)
            if subject and deadline and deadline.kind is one.kind:
                assert reasons is not None
                blind = reasons.since(one.since, deadline.at)
                looks[one.session_id] = _Look(one, subject, deadline, blind)
                looks[one.session_id].hosts_will_tell = reasons.is_early(deadline.at)
        return looks

    def _close(
        self, look: _Look, tried_at: datetime | None, log: WatchLog, now: datetime, earliest: datetime
    ) -> Due:
        """What is found out is written down. When to look again, at `earliest` then."""
        look.judge()
        log.add(look.subject, look.after)
        moments = []
        if self._asking.is_possible(look.subject.account_sid):
            moments.append(look.deadline.asks_at(tried_at, look.after))
        if look.is_undecided:
            moments.append(now + (HEARD_WITHIN if look.hosts_will_tell else BLIND_PAUSE))
        elif look.is_new:
            moments.append(now + SIGHTED_AFTER)
        next_at = min((moment for moment in moments if moment), default=NEVER)
        return replace(look.due, tried_at=tried_at, next_at=max(next_at, earliest))


class _Look:
    """At one session that is due."""

    def __init__(self, one: Due, subject: Watching, deadline: Deadline, blind: Blindness | None) -> None:
        self.due = one
        self.subject = subject
        self.deadline = deadline
        self.after = subject.watched
        self._blind = blind
        self.hosts_will_tell = False  # in a moment, whether anything waits there that came in time

    def is_early(self, now: datetime) -> bool:
        """A verdict now could be wrong, and one in a moment can not: hosts may hold what came in time."""
        is_open = self.subject.watched.overdue is not None or self.due.kind is OverdueKind.STOPPED_EARLY
        return self.hosts_will_tell and not is_open and now < self.deadline.at + HEARD_WITHIN

    def asks(self, now: datetime) -> bool:
        """It is time to ask for the call."""
        asks_at = self.deadline.asks_at(self.due.tried_at, self.after)
        return asks_at is not None and asks_at <= now

    def question(self, now: datetime) -> Question:
        subject = self.subject
        return Question(subject.session_id, self.due.since, subject.account_sid, subject.call_sid, now)

    def learn(self, answer: Answer) -> None:
        self.after = self.deadline.learn(self.after, answer.call, answer.question.asked_at)

    def judge(self) -> None:
        blind = self._blind
        words = None if blind is None else blind.words
        overdue = self.deadline.judge(self.after, words, is_decided=blind is None or blind.is_decided)
        self.after = replace(self.after, overdue=overdue)

    @property
    def is_new(self) -> bool:
        """Only now it is said to be overdue, for what may have come to a host that nobody has heard of."""
        overdue = self.after.overdue
        is_absence = overdue is not None and overdue.kind is not OverdueKind.STOPPED_EARLY
        return is_absence and self.subject.watched.overdue is None

    @property
    def is_undecided(self) -> bool:
        return self.after.overdue is not None and self.after.overdue.is_unknown
