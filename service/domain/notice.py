"""What is learned about a session: answers of Telnyx, callbacks, wishes to stop. Pure: no input or output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum

from service.domain.state import State
from service.domain.value import value

# A callback's Timestamp outside these bounds around its own receipt says what happened, but not when.
OLDEST_PLAUSIBLE = timedelta(days=7)
CLOCK_LEAD = timedelta(minutes=5)


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
# By their labels.
ANSWERS: Mapping[str, NoticeKind] = {kind.label: kind for kind in NoticeKind if kind.is_answer}


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
