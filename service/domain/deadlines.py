"""By when something has to have happened to a session, and in what words it is said that it did not.

Pure: no input, no output. docs/duty.md has the table for operators.

| awaited | from | how long |
|---|---|---|
| NOT_STARTED: siprec-started | accepted, no stop asked for | `start` |
| NO_ANSWER: a callback | unanswered: the start's own deadline has passed by then | `answer` |
| NOT_STOPPED: siprec-stopped | its stop was asked for, and it was accepted or started | `stop` |
| NOT_ENDED: siprec-stopped | started, no stop asked for; where its call goes on, it is not overdue | `end` |
| STOPPED_EARLY: that its call is over | stopped, and nobody had asked for it | EARLY, then EARLY_AGAIN |

A session has one of them at a time. It runs from when the database numbered the event, by its clock.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Final

from service.domain.overdue import UNKNOWN, Call, Overdue, OverdueKind, Watched
from service.domain.state import State
from service.domain.value import value

EARLY: Final = timedelta(seconds=5)
EARLY_AGAIN: Final = timedelta(seconds=60)  # Telnyx's word of a call may be some seconds old
EARLY_LATEST: Final = timedelta(minutes=10)  # for so long it is of use to know

# A call is asked for again after as long as has passed, within these bounds, and then no more.
SHORTEST_PAUSE: Final = timedelta(seconds=60)
LONGEST_PAUSE: Final = timedelta(hours=1)
LAST_ASKED: Final = timedelta(days=2)


@value(frozen=True)
class Limits:
    """How long each may take."""

    start: timedelta = timedelta(seconds=20)
    answer: timedelta = timedelta(seconds=30)
    stop: timedelta = timedelta(seconds=60)
    end: timedelta = timedelta(hours=4)

    def of(self, kind: OverdueKind) -> timedelta:
        return {
            OverdueKind.NOT_STARTED: self.start,
            OverdueKind.NO_ANSWER: self.answer,
            OverdueKind.NOT_STOPPED: self.stop,
            OverdueKind.NOT_ENDED: self.end,
            OverdueKind.STOPPED_EARLY: EARLY,
        }[kind]


def awaited(state: State, *, is_stop_requested: bool, is_merged: bool) -> OverdueKind | None:
    """What a session in this state waits for; None: for nothing that has a deadline."""
    if is_merged:
        return None
    if state is State.UNANSWERED:
        return OverdueKind.NO_ANSWER
    if state is State.ACCEPTED:
        return OverdueKind.NOT_STOPPED if is_stop_requested else OverdueKind.NOT_STARTED
    if state is State.STARTED:
        return OverdueKind.NOT_STOPPED if is_stop_requested else OverdueKind.NOT_ENDED
    if state is State.STOPPED and not is_stop_requested:
        return OverdueKind.STOPPED_EARLY
    return None


@value(frozen=True)
class Deadline:
    """That of one session; it runs from `since` (UTC)."""

    kind: OverdueKind
    since: datetime
    limit: timedelta

    @property
    def at(self) -> datetime:
        return self.since + self.limit

    def call_is_live(self, watched: Watched) -> bool | None:
        """None: nobody knows. That a call is over stays true; that it goes on has to be of after `at`."""
        if watched.is_call_live and (watched.call_checked_at is None or watched.call_checked_at < self.at):
            return None
        return watched.is_call_live

    def is_too_late(self, now: datetime) -> bool:
        """It is of no use to know any more."""
        return self.kind is OverdueKind.STOPPED_EARLY and now > self.since + EARLY_LATEST

    def judge(self, watched: Watched, blind: str | None = None, *, is_decided: bool = True) -> Overdue | None:
        """What is overdue once `at` has passed.

        `blind`: why an absence proves nothing; where that `is_decided`, it counts all the same.
        """
        is_live = self.call_is_live(watched)
        if self.kind is OverdueKind.STOPPED_EARLY and not is_live:
            return None  # that nobody knows is no reason
        if self.kind is OverdueKind.NOT_ENDED and is_live:
            return None
        words = f"{_MISSING[self.kind].format(_in_words(self.limit))}; {self._of_call(watched)}"
        if blind is not None and self.kind.is_absence:
            words = f"{'' if is_decided else UNKNOWN}{blind}; {words}"
        return Overdue(self.kind, self.at, words)

    def learn(self, watched: Watched, call: Call | None, asked_at: datetime) -> Watched:
        """What is known once Telnyx has answered; None: it does not know the call.

        A call that is over ends every session on it.
        """
        if call is None and watched.is_call_live is False:
            return watched
        status = NOT_FOUND if call is None else call.status
        after = replace(watched, call_status=status, call_checked_at=asked_at)
        is_presumed = watched.presumed_ended_at is not None or self.kind is OverdueKind.STOPPED_EARLY
        if call is None or is_presumed or after.is_call_live is not False:
            return after
        ended_at = call.ended_at or asked_at
        source = "ended then, Telnyx says" if call.ended_at else "was over when Telnyx was asked"
        why = f"no callback told of its end; its call ({status}) {source}"
        return replace(after, presumed_ended_at=ended_at, presumed_why=why)

    def _of_call(self, watched: Watched) -> str:
        is_live = self.call_is_live(watched)
        if is_live:
            return _LIVE.get(self.kind, "its call goes on")
        if is_live is False:
            return f"its call is over ({watched.call_status})"
        if watched.call_status == NOT_FOUND:
            return "Telnyx does not know its call"
        return "whether its call goes on is not known"

    def asks_at(self, tried_at: datetime | None, watched: Watched) -> datetime | None:
        """When Telnyx is to be asked for the call; None: no more."""
        if self.call_is_live(watched) is False:
            return None
        if tried_at is None or tried_at < self.at:
            return self.at
        if self.kind is OverdueKind.STOPPED_EARLY and tried_at < self.since + EARLY_AGAIN:
            return self.since + EARLY_AGAIN
        pause = min(max(tried_at - self.at, SHORTEST_PAUSE), LONGEST_PAUSE)
        is_of_use = watched.overdue is not None or self.kind is not OverdueKind.STOPPED_EARLY
        latest = self.at + (LAST_ASKED if is_of_use else EARLY_LATEST)
        is_live = self.call_is_live(watched) is True  # then it is asked for until it is over
        return tried_at + pause if is_live or tried_at + pause <= latest else None


NOT_FOUND: Final = "not-found"  # instead of a call's status: Telnyx does not know the call

_MISSING: Final = {
    OverdueKind.NOT_STARTED: "no siprec-started came within {} of Telnyx accepting it",
    OverdueKind.NO_ANSWER: "neither an answer nor a callback came within {} of its becoming unanswered",
    OverdueKind.NOT_STOPPED: "no siprec-stopped came within {} of its stop being asked for",
    OverdueKind.NOT_ENDED: "no siprec-stopped came within {} of its start",
    OverdueKind.STOPPED_EARLY: "siprec-stopped came, and nobody had asked for it here",
}
_LIVE: Final = {
    OverdueKind.NOT_STARTED: "its call goes on: it is probably not being recorded",
    OverdueKind.NO_ANSWER: "its call goes on: it is probably not being recorded",
    OverdueKind.STOPPED_EARLY: "its call goes on: it is no longer being recorded",
}


@cache
def _in_words(time: timedelta) -> str:
    seconds = time.total_seconds()
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds > size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
