"""What marks a canary as ours: a token in its path and a signature, of keys that serve nothing else.

It looks like Telnyx's callbacks on the way, headers included, so that it meets what these meet. What is
signed begins with a word where Telnyx's begins with digits, and the keys are derived from SECRET_KEY: neither
can pass for the other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import parse_qs, urlencode

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

from service.domain.ids import new_id

PATH: Final = "/callbacks/canary"
LIFETIME: Final = timedelta(minutes=2)
LONGEST_DELAY: Final = timedelta(seconds=25)
TOKEN: Final = re.compile(r"([0-9a-f-]{36})\.([0-9]{1,12})\.([0-9a-f]{64})")
TIMESTAMP_HEADER: Final = "telnyx-timestamp"
SIGNATURE_HEADER: Final = "telnyx-signature-ed25519"


class UnknownCanary(Exception):
    """Its token is not ours, or not any more."""


class ForgedCanary(Exception):
    """Its token is ours, and its signature does not fit what came."""


@dataclass(frozen=True)
class Wish:
    """How a canary is to be answered: that much later than it could be, and its head before the rest."""

    delay: timedelta = timedelta(0)
    in_parts: bool = False


@dataclass(frozen=True)
class Canary:
    """One that is to be sent: POST `body` to `path`."""

    id: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Token:
    text: str
    id: str
    key: _Key
    expires_at: float  # Unix seconds


class _Key:
    def __init__(self, secret: str) -> None:
        self._token_key = hmac.digest(secret.encode(), b"siprec-ledger canary token", "sha256")
        seed = hmac.digest(secret.encode(), b"siprec-ledger canary signature", "sha256")
        self._signing_key = SigningKey(seed)

    def token(self, id: str, expires_at: int) -> str:
        text = f"{id}.{expires_at}"
        return f"{text}.{hmac.new(self._token_key, text.encode(), hashlib.sha256).hexdigest()}"

    def sign(self, signed: bytes) -> str:
        return base64.b64encode(self._signing_key.sign(signed).signature).decode()

    def is_signed(self, signed: bytes, signature: str) -> bool:
        try:
            self._signing_key.verify_key.verify(signed, base64.b64decode(signature, validate=True))
        except (BadSignatureError, binascii.Error, ValueError):
            return False
        return True


class CanaryKeys:
    """Makes canaries with the first of `secrets`, and knows those of all of them."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [_Key(secret) for secret in secrets]

    def make(self, now: datetime, wish: Wish | None = None, size: int = 0) -> Canary:
        """Its body has `size` bytes at least. `now` is UTC."""
        wish = wish or Wish()
        id, key = new_id(), self._keys[0]
        token = key.token(id, int((now + LIFETIME).timestamp()))
        form = {
            "AccountSid": "canary",
            "CallSid": "canary",
            "SiprecSid": id,
            "SiprecEvent": "canary",
            "Timestamp": now.isoformat(),
            "CanaryDelaySeconds": f"{wish.delay.total_seconds()}",
            "CanaryInParts": "1" if wish.in_parts else "0",
            "Padding": "",
        }
        body = urlencode(form).encode()
        body += b"." * (size - len(body))
        timestamp = str(int(now.timestamp()))
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: key.sign(_signed(token, timestamp, body)),
        }
        return Canary(id, f"{PATH}/{token}", headers, body)

    def token(self, text: str, now: datetime) -> Token:
        """Raises UnknownCanary."""
        if not (found := TOKEN.fullmatch(text)):
            raise UnknownCanary
        id, expires_at = found[1], int(found[2])
        for key in self._keys:
            if hmac.compare_digest(key.token(id, expires_at), text):
                # Of one that lives for longer than any does, the clock of whoever made it is wrong.
                if not 0 <= expires_at - now.timestamp() <= 2 * LIFETIME.total_seconds():
                    break
                return Token(text, id, key, expires_at)
        raise UnknownCanary


def read(token: Token, headers: Mapping[str, str], body: bytes) -> Wish:
    """`headers` by their lower-case names. Raises ForgedCanary."""
    signed = _signed(token.text, headers.get(TIMESTAMP_HEADER, ""), body)
    if not token.key.is_signed(signed, headers.get(SIGNATURE_HEADER, "")):
        raise ForgedCanary
    form = parse_qs(body.decode("latin-1"))
    try:
        delay = timedelta(seconds=float(form["CanaryDelaySeconds"][0]))
        in_parts = form["CanaryInParts"] == ["1"]
    except (KeyError, ValueError, OverflowError) as error:  # of another release
        raise ForgedCanary from error
    return Wish(max(timedelta(0), min(delay, LONGEST_DELAY)), in_parts)


def is_canary(path: str) -> bool:
    return path.startswith(f"{PATH}/")


def _signed(token: str, timestamp: str, body: bytes) -> bytes:
    return f"canary|{token}|{timestamp}|".encode() + body
