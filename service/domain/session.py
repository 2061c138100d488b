"""What a SIPREC session is, and what can be learned about it. Pure: no input, no output."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from service.domain.notice import Error, Notice
from service.domain.overdue import NOTHING, Watched
from service.domain.start import Order
from service.domain.state import State
from service.domain.value import value


class Origin(StrEnum):
    """How a session came into the ledger."""

    API = "api"  # an app asked us for it
    ADOPTED = "adopted"  # a TeXML document started it; its callbacks told us


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
    watched: Watched = NOTHING

    def is_starting(self, now: datetime) -> bool:
        """Telnyx may still be answering somebody's start."""
        return self.deadline_at is not None and now < self.deadline_at

    @property
    def is_over(self) -> bool:
        """Nothing more is expected: not while a further attempt is open."""
        return self.has_reached(None)

    def has_reached(self, least: State | None) -> bool:
        """It is in this state, or past it, or over; None: it is over."""
        return self.progress.state.has_reached(least, is_open=self.deadline_at is not None)

    @property
    def can_be_asked_again(self) -> bool:
        error = self.progress.error
        is_refused = self.progress.state is State.REFUSED and self.deadline_at is None
        return is_refused and error is not None and error.is_repeatable
