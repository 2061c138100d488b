"""Whether Telnyx signed a callback.

Source: developers.telnyx.com/api-reference/callbacks/texml-siprec
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from datetime import datetime

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from service.domain.value import value

AGE_LIMIT_SECONDS = 300  # what Telnyx's SDKs allow, either way
TIMESTAMP = re.compile(r"[0-9]{1,12}")


class ForgedCallback(Exception):
    """None of the keys made this signature."""


class UnreadableTimestamp(Exception):
    """Not Unix seconds. What is signed begins with them, and anything else could move where they end."""


@value(frozen=True)
class PublicKey:
    """One of Telnyx's, with the name that says which key proved a callback."""

    key: VerifyKey
    name: str

    @classmethod
    def read(cls, text: str) -> PublicKey:
        """`text` is base64 of 32 bytes."""
        key = VerifyKey(base64.b64decode(text))
        return cls(key, f"ed25519:{hashlib.sha256(bytes(key)).hexdigest()[:16]}")


def verify(keys: Sequence[PublicKey], timestamp: str, signature: str, body: bytes) -> str:
    """The name of the key that signed `body`.

    `timestamp` (Unix seconds) and `signature` (base64) are the two request headers. How old it may be is
    not judged here. Raises ForgedCallback, UnreadableTimestamp.
    """
    if not TIMESTAMP.fullmatch(timestamp):
        raise UnreadableTimestamp
    signed = timestamp.encode() + b"|" + body
    for key in keys:
        if _fits(key.key, signature, signed):
            return key.name
    raise ForgedCallback


def age_seconds(timestamp: str, received_at: datetime) -> float:
    """How long before its receipt a callback was signed; below 0 where a clock is off."""
    return received_at.timestamp() - int(timestamp)


def _fits(key: VerifyKey, signature: str, signed: bytes) -> bool:
    try:
        key.verify(signed, base64.b64decode(signature, validate=True))
    except (BadSignatureError, binascii.Error, ValueError):
        return False
    return True
