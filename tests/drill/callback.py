"""Status callbacks, composed and signed as Telnyx does, or forged.

Source: developers.telnyx.com/api-reference/callbacks/texml-siprec
"""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from urllib.parse import urlencode, urlsplit

from nacl.signing import SigningKey

from tests.drill import http

STARTED = "siprec-started"
STOPPED = "siprec-stopped"
FAILED = "siprec-failed"


@dataclass(frozen=True)
class Session:
    """A session that the service has started; `url` is the StatusCallback that it gave to Telnyx."""

    id: str
    account_sid: str
    call_sid: str
    siprec_sid: str
    url: str
    method: str


@dataclass
class Callback:
    """One event, and what became of its deliveries. No two have the same `happened_at`."""

    session: Session
    event: str
    happened_at: datetime
    written: str  # happened_at, as Telnyx writes it
    is_forged: bool = False
    other_sid: str | None = None  # a SiprecSid that is not the session's
    sent: int = 0
    answers: list[int | None] = field(default_factory=list)  # None: there was none
    kept_at: list[float] = field(default_factory=list)  # Unix time of each 200
    slowest_seconds: float = 0.0  # of those answered 200

    @property
    def kept(self) -> int:
        """How many deliveries were answered 200, which is the service's word that it has them."""
        return len(self.kept_at)

    def answer(self, status: int, seconds: float) -> None:
        self.answers.append(status)
        if status == 200:
            self.kept_at.append(time.time())
            self.slowest_seconds = max(self.slowest_seconds, seconds)

    @property
    def failure(self) -> str | None:
        """SiprecError, which tells one failure from another."""
        return f"no-answer {self.happened_at:%f}" if self.event == FAILED else None

    @property
    def form(self) -> bytes:
        fields = {
            "AccountSid": self.session.account_sid,
            "CallSid": self.session.call_sid,
            "SiprecSid": self.other_sid or self.session.siprec_sid,
            "SiprecEvent": self.event,
            "Timestamp": self.written,
        }
        if self.failure:
            fields["SiprecError"] = self.failure
        return urlencode(fields).encode()

    def __str__(self) -> str:
        said = " ".join("-" if status is None else str(status) for status in self.answers)
        return f"{self.event} of session {self.session.id} at {self.written} (answered: {said})"


class Forgery(StrEnum):
    OTHER_KEY = "signed with another key"
    UNSIGNED = "without a signature"
    TAMPERED = "changed after it was signed"
    OTHER_TOKEN = "at a URL that is not ours"


class Signer:
    def __init__(self) -> None:
        self._key = SigningKey.generate()
        self._other_key = SigningKey.generate()

    @property
    def public_key(self) -> str:
        return b64encode(bytes(self._key.verify_key)).decode()

    def request(
        self,
        callback: Callback,
        skew_seconds: float = 0.0,
        forgery: Forgery | None = None,
        *,
        last: bool = False,
    ) -> bytes:
        """A delivery of the callback, sent now by a clock that is off by `skew_seconds`.

        `last`: the connection is not needed any more.
        """
        form, address = callback.form, urlsplit(callback.session.url)
        is_get = callback.session.method == "GET"
        signed = b"" if is_get else form
        key = self._other_key if forgery is Forgery.OTHER_KEY else self._key
        stamp = str(int(time.time() + skew_seconds))
        signature = key.sign(stamp.encode() + b"|" + signed).signature
        path = address.path
        if forgery is Forgery.TAMPERED:
            form = form.replace(b"SiprecSid=", b"SiprecSid=x", 1)
        if forgery is Forgery.OTHER_TOKEN:
            path = path[:-8] + "AAAAAAAA"
        headers = {"User-Agent": "siprec-ledger drill"}
        if forgery not in {Forgery.UNSIGNED, Forgery.OTHER_TOKEN}:
            headers |= {
                "telnyx-timestamp": stamp,
                "telnyx-signature-ed25519": b64encode(signature).decode(),
            }
        if last:
            headers["Connection"] = "close"
        if is_get:
            return http.compose("GET", f"{path}?{form.decode()}", headers)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return http.compose("POST", path, headers, form)
