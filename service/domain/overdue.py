"""What did not happen in time, and what Telnyx says of the call. Pure: no input, no output."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

from service.domain.value import value

UNKNOWN: Final = "unknown: "  # begins the words of what may have come all the same


class OverdueKind(StrEnum):
    """What is awaited and did not come."""

    NOT_STARTED = "not_started"  # accepted, and no siprec-started
    NO_ANSWER = "no_answer"  # asked, and neither an answer nor a callback
    NOT_STOPPED = "not_stopped"  # a stop was asked for, and no siprec-stopped
    NOT_ENDED = "not_ended"  # started long ago: only a reason to ask for the call
    STOPPED_EARLY = "stopped_early"  # siprec-stopped that nobody asked for, while the call goes on

    @property
    def is_absence(self) -> bool:
        """It rests on what did not come, which may still wait somewhere."""
        return self is not OverdueKind.STOPPED_EARLY


class CallStatus(StrEnum):
    """As Telnyx has it (developers.telnyx.com, GET /texml/Accounts/{account_sid}/Calls/{call_sid})."""

    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    CANCELED = "canceled"
    COMPLETED = "completed"
    FAILED = "failed"
    BUSY = "busy"
    NO_ANSWER = "no-answer"

    @property
    def is_over(self) -> bool:
        return self not in {CallStatus.RINGING, CallStatus.IN_PROGRESS}


_IS_LIVE: Final = {status.value: not status.is_over for status in CallStatus}
LIVE_STATUSES: Final = frozenset(status.value for status in CallStatus if not status.is_over)


@value(frozen=True)
class Overdue:
    """It is no state, and touches no time that Telnyx told. `since` is the deadline, UTC.

    `why` begins with "unknown: " where callbacks may wait on a disk, or where we were not listening.
    """

    kind: OverdueKind
    since: datetime
    why: str

    def facts(self) -> dict[str, object]:
        return {"kind": self.kind, "since": self.since, "why": self.why}

    @property
    def is_unknown(self) -> bool:
        return self.why.startswith(UNKNOWN)


@value(frozen=True)
class Watched:
    """What the watch knows of a session. A callback that comes later overrules it; both are shown."""

    overdue: Overdue | None = None
    # Telnyx's word when it was asked last: a CallStatus, or another; not-found: it did not know the call
    call_status: str | None = None
    call_checked_at: datetime | None = None  # UTC
    presumed_ended_at: datetime | None = None  # UTC
    presumed_why: str | None = None

    @property
    def is_call_live(self) -> bool | None:
        """None: nobody knows."""
        return None if self.call_status is None else _IS_LIVE.get(self.call_status)

    def facts(self) -> dict[str, object]:
        """What is written to the timeline when it changes, under the names that apps know."""
        return {
            "overdue": self.overdue and self.overdue.facts(),
            "call": self.call_checked_at and {"status": self.call_status, "checked_at": self.call_checked_at},
            "presumed": self.presumed_ended_at
            and {"ended_at": self.presumed_ended_at, "why": self.presumed_why},
        }


@value(frozen=True)
class Call:
    """What Telnyx answered about a call. `status` is its word, `ended_at` UTC."""

    status: str
    ended_at: datetime | None = None


NOTHING = Watched()
