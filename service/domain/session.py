"""What a SIPREC session is, and what can be learned about it. Pure: no input, no output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum

from service.domain.order import Order
from service.domain.value import value

# A callback's Timestamp outside these bounds around its own receipt says what happened, but not when.
OLDEST_PLAUSIBLE = timedelta(days=7)
CLOCK_LEAD = timedelta(minutes=5)


class State(StrEnum):
    """In order of rank: each outranks those above it."""

    REQUESTED = "requested"  # written down; Telnyx not yet asked, or not yet answered
    UNANSWERED = "unanswered"  # asked, no usable answer: it may or may not have started
    REFUSED = "refused"  # it did not start: Telnyx said no, or the request never left
    ACCEPTED = "accepted"  # Telnyx gave it a sid; nobody has said yet that media flows
    STARTED = "started"
    STOPPED = "stopped"
    FAILED = "failed"  # outranks STOPPED, so that no failure is ever hidden

    def __init__(self, _value: str) -> None:
        self.rank = len(type(self))  # members are made one after the other

    @property
    def is_over(self) -> bool:
        return self in {State.REFUSED, State.STOPPED, State.FAILED}


class Origin(StrEnum):
    """How a session came into the ledger."""

    API = "api"  # an app asked us for it
    ADOPTED = "adopted"  # a TeXML document started it; its callbacks told us


class ErrorKind(StrEnum):
    REJECTED = "rejected"  # Telnyx refused what was asked
    CREDENTIALS = "credentials"  # Telnyx refused us
    RATE_LIMITED = "rate_limited"  # Telnyx did nothing, and said so
    UNREACHABLE = "unreachable"  # the request never left
    NO_ANSWER = "no_answer"  # the request left; no usable answer came
    SIPREC_FAILED = "siprec_failed"  # Telnyx reported the session failed


@value(frozen=True)
class Error:
    """Why something is not as asked; `status` is Telnyx's HTTP status, `code` and `detail` its words."""

    kind: ErrorKind
    status: int | None = None
    code: str | None = None
    detail: str | None = None
    # How long Telnyx wants us to wait. Of use to whoever asked, at once; it is written down nowhere.
    retry_after: timedelta | None = field(default=None, compare=False)

    def facts(self) -> dict[str, str | int | None]:
        """As it is written down."""
        return {"kind": self.kind, "status": self.status, "code": self.code, "detail": self.detail}

    @property
    def is_repeatable(self) -> bool:
        """Telnyx certainly did nothing, so asking again cannot record a call twice."""
        return self.kind in {ErrorKind.UNREACHABLE, ErrorKind.RATE_LIMITED}


class NoticeKind(Enum):
    """What a notice says, and the state it vouches for."""

    ACCEPTED = "accepted", State.ACCEPTED
    REFUSED = "refused", State.REFUSED
    UNANSWERED = "unanswered", State.UNANSWERED
    STOP_REQUESTED = "stop-requested", State.REQUESTED
    STARTED = "siprec-started", State.STARTED
    STOPPED = "siprec-stopped", State.STOPPED
    FAILED = "siprec-failed", State.FAILED
    OTHER = "other", State.REQUESTED  # a callback whose event we do not know

    def __init__(self, label: str, state: State) -> None:
        self.label = label
        self.state = state
        self.is_answer = label in {"accepted", "refused", "unanswered"}
        self.is_callback = not self.is_answer and label != "stop-requested"

    @classmethod
    def of_event(cls, event: str | None) -> NoticeKind:
        """What a callback's SiprecEvent says."""
        return _EVENTS.get(event, cls.OTHER)


_EVENTS: Mapping[str | None, NoticeKind] = {
    kind.label: kind for kind in (NoticeKind.STARTED, NoticeKind.STOPPED, NoticeKind.FAILED)
}


@value(frozen=True)
class Notice:
    """One thing learned about a session: Telnyx's answer, a callback, or our own wish to stop it.

    `received_at` is our clock: the earliest receipt of all its deliveries. `happened_at` is Telnyx's clock
    (a callback's Timestamp); both UTC. `digest` is a callback's identity; the sids are as Telnyx wrote them.
    """

    kind: NoticeKind
    received_at: datetime
    happened_at: datetime | None = None
    time_is_plausible: bool = False  # against the receipt of any of its deliveries
    digest: bytes = b""
    account_sid: str | None = None
    call_sid: str | None = None
    siprec_sid: str | None = None
    error: Error | None = None
    actor: str | None = None  # whose wish it is

    @property
    def time(self) -> datetime | None:
        """When it happened, if that can be believed."""
        return self.happened_at if self.time_is_plausible else None

    @property
    def precedence(self) -> tuple[datetime, bytes]:
        """Where two notices disagree on a fact, the lower wins, whichever came first."""
        return (self.time or self.received_at, self.digest)

    @property
    def receipt(self) -> tuple[datetime, bytes]:
        """Sorts notices by when they were received."""
        return (self.received_at, self.digest)

    def received_too(self, again: Notice) -> Notice:
        """The same after a further delivery, which can only add belief in its Timestamp."""
        return replace(
            self,
            received_at=min(self.received_at, again.received_at),
            time_is_plausible=self.time_is_plausible or again.time_is_plausible,
        )


def is_plausible(happened_at: datetime | None, received_at: datetime) -> bool:
    """Whether a Timestamp may be believed of a delivery that came then."""
    return happened_at is not None and -OLDEST_PLAUSIBLE <= happened_at - received_at <= CLOCK_LEAD


@value(frozen=True)
class Progress:
    """What the notices of a session add up to. Depends on which there are, never on how they came."""

    state: State = State.REQUESTED
    answer_siprec_sid: str | None = None  # what Telnyx's answer to our start calls the session
    callback_siprec_sid: str | None = None  # what its callbacks call it, where that is another
    accepted_at: datetime | None = None  # our clock
    started_at: datetime | None = None  # Telnyx's clock, the earliest received; so is the next
    ended_at: datetime | None = None
    stop_requested_at: datetime | None = None  # our clock
    stop_requested_by: str | None = None
    refusal: Error | None = None  # the answer's error
    failure: Error | None = None  # what a callback called siprec-failed

    @property
    def siprec_sid(self) -> str | None:
        """The one to stop it by."""
        return self.answer_siprec_sid or self.callback_siprec_sid

    @property
    def other_siprec_sid(self) -> str | None:
        """What callbacks call it, where Telnyx's answer called it something else."""
        return self.callback_siprec_sid if self.answer_siprec_sid else None

    @property
    def sids(self) -> set[str]:
        return {sid for sid in (self.answer_siprec_sid, self.callback_siprec_sid) if sid}

    @property
    def error(self) -> Error | None:
        """What explains the present state; an answer that callbacks have overruled explains nothing."""
        if self.state is State.FAILED:
            return self.failure
        return self.refusal if self.state in {State.REFUSED, State.UNANSWERED} else None

    def facts(self) -> dict[str, object]:
        """What is written to the timeline when it changes, under the names that apps know."""
        return {
            "state": self.state,
            "siprec_sid": self.siprec_sid,
            "callback_siprec_sid": self.other_siprec_sid,
            "accepted_at": self.accepted_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "stop_requested_at": self.stop_requested_at,
            "stop_requested_by": self.stop_requested_by,
            "error": self.failure or self.refusal,
        }


@value(frozen=True)
class LockedSession:
    """What can change of a session, and what tells whether a callback is about it."""

    id: str
    origin: Origin
    account_sid: str
    call_sid: str
    progress: Progress
    attempts: int
    deadline_at: datetime | None  # until then an answer to the latest attempt is awaited; None: it is not
    answer: Notice | None  # the latest
    merged_into: str | None
    callbacks: int = 0  # distinct ones
    last_callback_at: datetime | None = None

    def is_overdue(self, now: datetime) -> bool:
        """An answer is no longer waited for."""
        return self.deadline_at is not None and self.deadline_at <= now


@value(frozen=True)
class Session:
    """A session as the ledger holds it; all times are UTC."""

    id: str
    origin: Origin
    order: Order
    requested_at: datetime  # when it was written down; for an adopted one, when its callback came
    updated_at: datetime
    progress: Progress = Progress()
    requested_by: str | None = None  # the API key's name
    attempts: int = 1
    deadline_at: datetime | None = None  # until then an answer is awaited; None: it is not
    answer: Notice | None = None  # Telnyx's latest
    merged_into: str | None = None
    callbacks: int = 0  # distinct ones
    last_callback_at: datetime | None = None

    def is_starting(self, now: datetime) -> bool:
        """Telnyx may still be answering somebody's start."""
        return self.deadline_at is not None and now < self.deadline_at

    @property
    def is_over(self) -> bool:
        """Nothing more is expected: not while a further attempt is open."""
        return self.progress.state.is_over and self.deadline_at is None

    @property
    def can_be_asked_again(self) -> bool:
        error = self.progress.error
        is_refused = self.progress.state is State.REFUSED and self.deadline_at is None
        return is_refused and error is not None and error.is_repeatable
