"""Calls and the SIPREC sessions on them, as Telnyx would know them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

SessionStatus = Literal["accepted", "running", "stopped", "failed"]
CallbackMethod = Literal["GET", "POST"]


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Session:
    """One SIPREC session. The three sids are enough for composing callbacks about a session of one's own."""

    account_sid: str
    call_sid: str
    sid: str = field(default_factory=lambda: str(uuid4()))
    status_callback: str | None = None
    status_callback_method: CallbackMethod = "POST"
    track: str = "both_tracks"
    name: str | None = None
    connector_name: str | None = None
    status: SessionStatus = "accepted"
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)

    @property
    def is_over(self) -> bool:
        return self.status in ("stopped", "failed")


@dataclass(frozen=True)
class Call:
    """One call. It began when the sandbox first knew of it."""

    sid: str
    began_at: datetime = field(default_factory=now)
    ended_at: datetime | None = None
