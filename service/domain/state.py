"""The states of a session, and their rank. Pure: no input, no output."""

from __future__ import annotations

from enum import StrEnum


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

    def has_reached(self, least: State | None, *, is_open: bool = False) -> bool:
        """It is `least`, or past it, or over; None: it is over. None is over where an attempt `is_open`."""
        if self.is_over and not is_open:
            return True
        return least is not None and self.rank >= least.rank
