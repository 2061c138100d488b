"""Why a session is in its state, in plain sentences, each naming what it rests on. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from service.domain import causes
from service.domain.causes import Cause, Side
from service.domain.explain_lines import Clock, Line, Sentence, latest, resting_on, sentences
from service.domain.overdue import Overdue, OverdueKind
from service.domain.session import Session
from service.domain.state import State
from service.domain.value import value

MOST_PROBLEMS: Final = 5  # of callbacks, in words


@value(frozen=True)
class Problem:
    """What is wrong with a callback, or between it and its session. `received_at` is UTC."""

    received_at: datetime
    words: str


@value(frozen=True)
class Explanation:
    """`summary` is one sentence; `side` is who has to act."""

    summary: str
    side: Side | None
    what_to_do: str | None
    sentences: tuple[Sentence, ...]


def explain(
    session: Session, lines: Sequence[Line], problems: Sequence[Problem], now: datetime
) -> Explanation:
    """`lines` in the order in which they were written. Times are UTC, written for who reads them at `now`."""
    clock, cause = Clock(now), causes.of(session)
    explained = [
        *sentences(session, lines, clock),
        *_wrong(problems, clock),
        *([] if session.merged_into else _at_present(session, lines, clock, now)),
    ]
    return Explanation(
        summary=f"{_summary(session, cause, now)}.",
        side=cause.side if cause else None,
        what_to_do=cause.what_to_do if cause else None,
        sentences=tuple(explained),
    )


def _wrong(problems: Sequence[Problem], clock: Clock) -> Iterator[Sentence]:
    for problem in problems[:MOST_PROBLEMS]:
        when = clock(problem.received_at)
        yield Sentence(f"Of the callback that came at {when} something is wrong: {problem.words}.")
    if len(problems) > MOST_PROBLEMS:
        yield Sentence("Of further callbacks something is wrong too.")


def _at_present(session: Session, lines: Sequence[Line], clock: Clock, now: datetime) -> Iterator[Sentence]:
    """How it stands, and what follows."""
    watched, state = session.watched, session.progress.state
    if session.deadline_at is not None:
        has_passed = session.deadline_at <= now
        words = "No answer of Telnyx had come by" if has_passed else "Telnyx's answer is awaited until"
        yield Sentence(f"{words} {clock(session.deadline_at)}.", deadline=session.deadline_at)
    if watched.overdue is not None:
        line = latest(lines, "overdue")
        yield resting_on(_capital(_without_call(watched.overdue.why)), line, watched.overdue.since)
    elif state in _AWAITED and watched.presumed_ended_at is None and session.deadline_at is None:
        yield Sentence(f"{_AWAITED[state]}.")
    if watched.overdue is not None or (watched.call_checked_at is not None and not state.is_over):
        yield resting_on(_call(session, clock), latest(lines, "call"))
    if watched.presumed_ended_at is not None:
        yield from _presumed(session, lines, clock, watched.presumed_ended_at)
    if watched.overdue is not None:
        yield Sentence(f"So {_conclusion(session, watched.overdue)}.")


def _without_call(why: str) -> str:
    """`why` ends with what is known of the call, which has a sentence of its own here."""
    head, parting, tail = why.rstrip(".").rpartition("; ")
    return head if parting and " call" in tail else why.rstrip(".")


def _call(session: Session, clock: Clock) -> str:
    watched = session.watched
    if watched.call_checked_at is None:
        return "Telnyx has not been asked yet whether the call is still up"
    asked = f"(asked at {clock(watched.call_checked_at)})"
    if watched.is_call_live is None:
        return f"Telnyx does not say whether the call is still up {asked}"
    return f"The call is still up {asked}" if watched.is_call_live else f"The call is over {asked}"


def _presumed(
    session: Session, lines: Sequence[Line], clock: Clock, ended_at: datetime
) -> Iterator[Sentence]:
    why = f": {session.watched.presumed_why.rstrip('.')}" if session.watched.presumed_why else ""
    line = latest(lines, "presumed")
    yield resting_on(f"Its end was presumed to be at {clock(ended_at)}{why}", line)
    if session.progress.state.is_over:
        yield Sentence("A callback that came later overruled that: what Telnyx told stands.")


def _conclusion(session: Session, overdue: Overdue) -> str:
    if overdue.is_unknown:
        return "nothing follows yet: what is missing may have come, and wait to be written"
    is_live, kind = session.watched.is_call_live, overdue.kind
    if is_live is None:
        return f"it is not certain what became of it: {_SIDES[kind]}"
    return f"{(_LIVE if is_live else _OVER)[kind]}: {_SIDES[kind]}"


def _summary(session: Session, cause: Cause | None, now: datetime) -> str:
    state, watched = session.progress.state, session.watched
    if session.merged_into is not None:
        return f"It is the same recording as session {session.merged_into}, which tells the rest"
    if causes.is_live_and_unrecorded(session):
        return "The call is up, and probably not being recorded"
    if session.is_starting(now):
        return "Telnyx is being asked to start it"
    if cause is not None and state not in {State.FAILED, State.REFUSED}:
        return cause.words
    if cause is not None:
        return f"{'Failed' if state is State.FAILED else 'Not recorded'}: {cause.words}"
    if watched.presumed_ended_at is not None and not state.is_over:
        return "The call is over, as far as is known"
    if state is State.STARTED and session.progress.stop_requested_at is not None:
        return "The recording runs, and was asked to stop"
    return _SUMMARIES[state]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


_SUMMARIES: Final = {
    State.REQUESTED: "It was asked for, and nothing has been heard of it yet",
    State.UNANSWERED: "It may or may not have started",
    State.REFUSED: "It did not start",
    State.ACCEPTED: "Telnyx accepted it, and has not said yet that it started",
    State.STARTED: "The recording runs, as far as Telnyx has said",
    State.STOPPED: "The recording started and stopped",
    State.FAILED: "The recording failed",
}
_AWAITED: Final = {
    State.UNANSWERED: "A callback may still tell what became of it",
    State.ACCEPTED: "That it started has not been heard yet",
    State.STARTED: "Nothing has been heard of its end",
}
_SIDES: Final = {
    OverdueKind.NOT_STARTED: "recorder or network",
    OverdueKind.NO_ANSWER: "network or Telnyx",
    OverdueKind.NOT_STOPPED: "Telnyx or the way to us",
    OverdueKind.NOT_ENDED: "Telnyx or the way to us",
    OverdueKind.STOPPED_EARLY: "recorder or network",
}
_LIVE: Final = {
    OverdueKind.NOT_STARTED: "it is probably not being recorded",
    OverdueKind.NO_ANSWER: "it is probably not being recorded",
    OverdueKind.NOT_STOPPED: "it is probably still being recorded",
    OverdueKind.NOT_ENDED: "it is probably still being recorded",
    OverdueKind.STOPPED_EARLY: "the rest of the call is not being recorded",
}
_OVER: Final = {
    OverdueKind.NOT_STARTED: "there is probably no recording of the call",
    OverdueKind.NO_ANSWER: "there is probably no recording of the call",
    OverdueKind.NOT_STOPPED: "the recording has ended with the call, and its end was not told",
    OverdueKind.NOT_ENDED: "the recording has ended with the call, and its end was not told",
    OverdueKind.STOPPED_EARLY: "the recording ended before the call did",
}
