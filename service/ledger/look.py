"""A look at one session that is due: whether to ask for its call, and what is found out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from service.domain.deadlines import Deadline
from service.domain.overdue import Call
from service.domain.value import value
from service.store.blindness import Blindness
from service.store.due import Due
from service.store.watching import Watching

HEARD_WITHIN: Final = timedelta(seconds=4)  # by then every host says what waits there, or it is unknown


class Asking(Protocol):
    """Whether Telnyx can be asked for calls of an account; and, of each question, whether it may be now."""

    def is_possible(self, account_sid: str) -> bool: ...

    def may(self, account_sid: str) -> bool: ...


@value(frozen=True)
class Question:
    """About the call of a session that waits for something since then."""

    session_id: str
    since: datetime
    account_sid: str
    call_sid: str
    asked_at: datetime  # the database's clock


@value(frozen=True)
class Answer:
    """`call` is None: Telnyx does not know it."""

    question: Question
    call: Call | None


class Look:
    """`after` is what is known of the session once it was looked at."""

    def __init__(
        self,
        one: Due,
        subject: Watching,
        deadline: Deadline,
        blind: Blindness | None,
        *,
        hosts_will_tell: bool,
    ) -> None:
        """`hosts_will_tell`: in a moment, whether anything waits there that came in time."""
        self.due = one
        self.subject = subject
        self.deadline = deadline
        self.after = subject.watched
        self.hosts_will_tell = hosts_will_tell
        self._blind = blind

    def is_early(self, now: datetime) -> bool:
        """A verdict now could be wrong, and one in a moment can not: hosts may hold what came in time."""
        is_open = self.subject.watched.overdue is not None or not self.due.kind.is_absence
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
        if overdue != self.after.overdue:
            self.after = replace(self.after, overdue=overdue)

    def is_of_use(self, now: datetime) -> bool:
        """What could be found out still matters to somebody."""
        return self.after.overdue is not None or not self.deadline.is_too_late(now)

    @property
    def is_new(self) -> bool:
        """Only now it is said to be overdue, for what may have come to a host that nobody has heard of."""
        overdue = self.after.overdue
        is_absence = overdue is not None and overdue.kind.is_absence
        return is_absence and self.subject.watched.overdue is None

    @property
    def is_undecided(self) -> bool:
        return self.after.overdue is not None and self.after.overdue.is_unknown
