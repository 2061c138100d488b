"""A status callback: the delivery as it came, byte for byte, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from service.domain.notice import Notice, NoticeKind
from service.domain.value import value

KEPT_HEADERS = ("telnyx-timestamp", "telnyx-signature-ed25519", "content-type", "user-agent")


@value(frozen=True)
class Delivery:
    """One request that reached the callback endpoint, as it came. `id` is ours, `received_at` is UTC."""

    id: str
    received_at: datetime
    method: str
    token: str | None
    query: bytes
    headers: Mapping[str, str]  # lower-case names
    body: bytes
    peer: str | None = None  # the address it came from
    answered: int = 200  # the HTTP status
    spooled_on: str | None = None  # the host on whose disk it waited

    @property
    def evidence(self) -> dict[str, str]:
        """The headers worth keeping."""
        kept = {name: self.headers[name] for name in KEPT_HEADERS if name in self.headers}
        # PostgreSQL keeps no NUL in text, and nothing here relies on the server to refuse one.
        return {name: text.replace("\0", "\N{REPLACEMENT CHARACTER}") for name, text in kept.items()}


@value(frozen=True)
class Callback:
    """A genuine delivery: what it says, what vouches for it, and what is wrong with it."""

    delivery: Delivery
    session_id: str | None  # the one that its token names
    verified_by: str  # "ed25519:<key's fingerprint>", or "token"
    event: str | None  # SiprecEvent, as written
    notice: Notice
    problem: str | None

    def raw(self) -> Callback:
        """The evidence and nothing that was read from it: for what a database will not take as parsed."""
        unread = Notice(NoticeKind.OTHER, received_at=self.notice.received_at, digest=self.notice.digest)
        return replace(self, event=None, notice=unread, problem="it could not be stored as it was read")
