"""What the lines of a session's timeline say, a sentence for each that a reader needs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from service.domain.history import Changes
from service.domain.notice import ErrorKind
from service.domain.session import Origin, Session
from service.domain.state import State
from service.domain.value import value


@value(frozen=True)
class Line:
    """One event. `position` is its number in the feed, None until it has one; times are UTC."""

    position: int | None
    actor: str
    changes: Changes
    happened_at: datetime
    correction: bool = False


@value(frozen=True)
class Sentence:
    """`positions` are of the lines that it rests on, `deadline` (UTC) what passed or is awaited."""

    text: str
    positions: tuple[int, ...] = ()
    deadline: datetime | None = None


class Clock:
    """Writes times (UTC) for who reads them at `now`: with the date only where it is another day's."""

    def __init__(self, now: datetime) -> None:
        self._today = now.astimezone(UTC).date()

    def __call__(self, moment: object) -> str:
        """Of a datetime, or one as a line of the timeline has it."""
        if not isinstance(moment, datetime):
            try:
                moment = datetime.fromisoformat(str(moment))
            except ValueError:
                return str(moment)
        moment = moment.astimezone(UTC)
        digits = moment.isoformat(sep=" ", timespec="milliseconds" if moment.microsecond else "seconds")
        text = digits.removesuffix("+00:00")
        return text.partition(" ")[2] if moment.date() == self._today else text


def sentences(session: Session, lines: Sequence[Line], clock: Clock) -> Iterator[Sentence]:
    """In the order of `lines`; what the watch found last is told at the end, by `explain`."""
    explained_later = {id(latest(lines, fact)) for fact in ("overdue", "presumed")}
    for number, line in enumerate(lines):
        said = _created(session, line, clock) if number == 0 else []
        found = [] if id(line) in explained_later else _watched(line, clock)
        for text in [*said, *_changed(line, clock, is_first=number == 0), *found]:
            yield resting_on(text, line)


def latest(lines: Sequence[Line], fact: str) -> Line | None:
    """The last that says so of this fact; None where the last took it back, or there is none."""
    last = next((line for line in reversed(lines) if fact in line.changes), None)
    return last if last is not None and _after(last.changes, fact) else None


def resting_on(text: str, line: Line | None, deadline: datetime | None = None) -> Sentence:
    if line is None or line.position is None:
        return Sentence(f"{text}.", (), deadline)
    return Sentence(f"{text} (line {line.position}).", (line.position,), deadline)


def _created(session: Session, line: Line, clock: Clock) -> list[str]:
    if session.origin is Origin.ADOPTED:
        return [f"A TeXML document started it: its first callback tells of {clock(line.happened_at)}"]
    return [f"{line.actor} asked for it at {clock(line.happened_at)}"]


def _changed(line: Line, clock: Clock, *, is_first: bool) -> Iterator[str]:
    changes = line.changes
    state = _after(changes, "state")
    if line.correction:
        yield "A callback that was received earlier, and written later, corrected what stood here"
    if "attempts" in changes:
        yield f"{line.actor} asked again at {clock(line.happened_at)}: attempt {_after(changes, 'attempts')}"
    if by := _after(changes, "stop_requested_at"):
        who = _after(changes, "stop_requested_by") or "Somebody"
        yield f"{who} asked to stop it at {clock(by)}"
    if (error := _after(changes, "error")) and _kind(error) is not ErrorKind.SIPREC_FAILED:
        yield _refused(error, line, clock)
    elif state == State.UNANSWERED:
        yield f"No answer of Telnyx came by {clock(line.happened_at)}, so it may or may not have started"
    if accepted := _after(changes, "accepted_at"):
        yield f"Telnyx accepted at {clock(accepted)}"
    elif state == State.ACCEPTED and not is_first:
        yield f"A callback of {clock(line.happened_at)} shows that Telnyx knows it"
    yield from _started_or_ended(line, state, clock)
    yield from _identity(changes)


def _started_or_ended(line: Line, state: Any, clock: Clock) -> Iterator[str]:
    if started := _after(line.changes, "started_at"):
        yield f"Telnyx says that it started at {clock(started)}"
    elif state == State.STARTED:
        yield "Telnyx called back that it started, with a time that cannot be believed"
    ended = _after(line.changes, "ended_at")
    at = f" at {clock(ended)}" if ended else ", with a time that cannot be believed"
    if state == State.FAILED:
        error = _after(line.changes, "error")
        why = error.get("detail") if isinstance(error, Mapping) else None
        yield f"Telnyx says that it failed{at}" + (f": {why}" if why else "")
    elif state == State.STOPPED:
        yield f"Telnyx says that it stopped{at}"
    elif ended:
        yield f"Telnyx's callbacks put its end at {clock(ended)}"


def _refused(error: Any, line: Line, clock: Clock) -> str:
    when, words = clock(line.happened_at), _words(error)
    match _kind(error):
        case ErrorKind.UNREACHABLE:
            return f"Telnyx could not be reached at {when}, so it was not asked"
        case ErrorKind.RATE_LIMITED:
            return f"Telnyx did nothing at {when}, since its rate limit was reached{words}"
        case ErrorKind.CREDENTIALS:
            return f"Telnyx refused our credentials at {when}{words}"
        case ErrorKind.REJECTED:
            return f"Telnyx refused it at {when}{words}"
    return f"No usable answer of Telnyx had come by {when}{words}. It may or may not have started"


def _words(error: Any) -> str:
    found = [error.get("status"), error.get("detail")] if isinstance(error, Mapping) else []
    text = " ".join(str(one).rstrip(".") for one in found if one)
    return f": {text}" if text else ""


def _identity(changes: Changes) -> Iterator[str]:
    if _after(changes, "callback_siprec_sid"):
        yield "Its callbacks name it by another sid than Telnyx's answer did"
    if "account_sid" in changes and _before(changes, "account_sid"):
        yield f"It turned out to be of account {_after(changes, 'account_sid')}"
    if other := _after(changes, "merged_into"):
        yield f"It turned out to be the same recording as session {other}, into which it was merged"
    if other := _after(changes, "merged_from"):
        yield f"Session {other} turned out to be the same recording, and was merged into this one"


def _watched(line: Line, clock: Clock) -> Iterator[str]:
    changes, when = line.changes, clock(line.happened_at)
    if "overdue" in changes:
        if _after(changes, "overdue"):
            another = ", for another reason" if _before(changes, "overdue") else ""
            yield f"At {when} it was overdue{another}"
        else:
            yield f"From {when} it was overdue no longer"
    if "presumed" in changes and _after(changes, "presumed"):
        yield f"At {when} the call was presumed to be over"
    elif "presumed" in changes:
        yield f"From {when} its end was no longer presumed"


def _before(changes: Changes, fact: str) -> Any:
    return changes[fact][0] if fact in changes else None


def _after(changes: Changes, fact: str) -> Any:
    return changes[fact][1] if fact in changes else None


def _kind(error: Any) -> ErrorKind | None:
    kind = error.get("kind") if isinstance(error, Mapping) else None
    return ErrorKind(kind) if kind in set(ErrorKind) else None
