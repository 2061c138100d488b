"""What a SIPREC session is, and what can be learned about it. Pure: no input, no output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta
from enum import Enum, StrEnum

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


class Track(StrEnum):
    BOTH = "both_tracks"
    INBOUND = "inbound_track"
    OUTBOUND = "outbound_track"


class SipTransport(StrEnum):
    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


class CallbackMethod(StrEnum):
    POST = "POST"
    GET = "GET"


@value(frozen=True)
class Order:
    """What an app asks to have recorded; `None` leaves the choice to Telnyx."""

    account_sid: str
    call_sid: str
    connector_name: str | None = None
    name: str | None = None
    track: Track | None = None
    include_metadata_custom_headers: bool | None = None
    secure: bool | None = None
    session_timeout_secs: int | None = None
    sip_transport: SipTransport | None = None
    status_callback_method: CallbackMethod = CallbackMethod.POST
    reference: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


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
    OTHER = "other", State.REQUESTED  # a callback whose event nobody has heard of

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

    `received_at` is our clock, `happened_at` Telnyx's (a callback's Timestamp); both UTC.
    `digest` is a callback's identity; the sids are as Telnyx wrote them.
    """

    kind: NoticeKind
    received_at: datetime
    happened_at: datetime | None = None
    digest: bytes = b""
    account_sid: str | None = None
    call_sid: str | None = None
    siprec_sid: str | None = None
    error: Error | None = None

    @property
    def time(self) -> datetime | None:
        """When it happened, if that can be believed."""
        if self.happened_at is None:
            return None
        lead = self.happened_at - self.received_at
        return self.happened_at if -OLDEST_PLAUSIBLE <= lead <= CLOCK_LEAD else None

    @property
    def precedence(self) -> tuple[datetime, bytes]:
        """Where two notices disagree on a fact, the lower wins, whichever came first."""
        return (self.time or self.received_at, self.digest)


@value(frozen=True)
class Progress:
    """What the notices of a session add up to. Depends on which there are, never on how they came."""

    state: State = State.REQUESTED
    answer_siprec_sid: str | None = None  # what Telnyx's answer to our start calls the session
    callback_siprec_sid: str | None = None  # what its callbacks call it
    accepted_at: datetime | None = None  # our clock
    started_at: datetime | None = None  # Telnyx's clock, the earliest heard; so is the next
    ended_at: datetime | None = None
    stop_requested_at: datetime | None = None  # our clock
    refusal: Error | None = None  # the answer's trouble
    failure: Error | None = None  # what a callback called siprec-failed

    @property
    def siprec_sid(self) -> str | None:
        """The one to stop it by."""
        return self.answer_siprec_sid or self.callback_siprec_sid

    @property
    def sids(self) -> set[str]:
        return {sid for sid in (self.answer_siprec_sid, self.callback_siprec_sid) if sid}

    @property
    def error(self) -> Error | None:
        """What explains the present state; an answer that callbacks have overruled explains nothing."""
        if self.state is State.FAILED:
            return self.failure
        return self.refusal if self.state in {State.REFUSED, State.UNANSWERED} else None

    @property
    def differing_siprec_sid(self) -> str | None:
        """What callbacks call it, where that differs."""
        return self.callback_siprec_sid if self.callback_siprec_sid != self.siprec_sid else None

    def facts(self) -> dict[str, object]:
        """What is written to the timeline when it changes, under the names that apps know."""
        return {
            "state": self.state,
            "siprec_sid": self.siprec_sid,
            "callback_siprec_sid": self.differing_siprec_sid,
            "accepted_at": self.accepted_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "stop_requested_at": self.stop_requested_at,
            "error": self.failure or self.refusal,
        }


@value(frozen=True)
class LockedSession:
    """How a session stands: what can change of it, and what tells whether a callback is about it."""

    id: str
    origin: Origin
    account_sid: str
    call_sid: str
    progress: Progress
    attempts: int
    deadline_at: datetime | None
    answer: Notice | None
    merged_into: str | None

    def is_overdue(self, now: datetime) -> bool:
        """An answer is no longer waited for."""
        return self.answer is None and self.deadline_at is not None and self.deadline_at <= now


@value(frozen=True)
class Session:
    """A session as the ledger holds it; all times are UTC."""

    id: str
    origin: Origin
    order: Order
    requested_at: datetime  # when it was written down; for an adopted one, when it was first heard of
    updated_at: datetime
    progress: Progress = Progress()
    requested_by: str | None = None  # the API key's name
    attempts: int = 1
    deadline_at: datetime | None = None  # after this, an answer is no longer waited for
    answer: Notice | None = None  # Telnyx's, to the latest attempt
    merged_into: str | None = None

    def is_asking(self, now: datetime) -> bool:
        """Telnyx may still be answering somebody's start."""
        return self.answer is None and self.deadline_at is not None and now < self.deadline_at

    @property
    def can_be_asked_again(self) -> bool:
        error = self.progress.error
        return self.progress.state is State.REFUSED and error is not None and error.is_repeatable
