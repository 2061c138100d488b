"""The URL that Telnyx calls back to: it holds a session's id and the method, signed, so that nobody else can
make one."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from itsdangerous import BadSignature, Signer

from service.domain.start import CallbackMethod
from service.domain.value import value

PATH = "/callbacks/siprec"
SALT = b"siprec-callback"
REMEMBERED: Final = 4096  # tokens


def is_callback(path: str) -> bool:
    return path == PATH or path.startswith(PATH + "/")


@value(frozen=True)
class Target:
    """What a token names: the session, and the method by which its callbacks were asked for."""

    session_id: str
    method: CallbackMethod


class CallbackUrls:
    """Makes callback URLs with the first of `secrets`, and reads those of all of them."""

    def __init__(self, public_url: str, secrets: Sequence[str]) -> None:
        # Derived once, not for every token: that halves what reading one costs.
        keys = [hmac.digest(secret.encode(), SALT, "sha256") for secret in secrets]
        oldest_first = list(reversed(keys))  # the last one signs
        self._signer = Signer(oldest_first, salt=SALT, key_derivation="none", digest_method=hashlib.sha256)
        self._public_url = public_url
        # Telnyx sends two or three callbacks for a session; only tokens of ours are remembered.
        self._unsign = lru_cache(maxsize=REMEMBERED)(self._signer.unsign)

    def of(self, session_id: str, method: CallbackMethod = CallbackMethod.POST) -> str:
        """`{PUBLIC_URL}{PATH}/<token>`"""
        token = self._signer.sign(f"{session_id}.{method}").decode()
        return f"{self._public_url}{PATH}/{token}"

    def read(self, token: str) -> Target | None:
        """None if the token is not ours."""
        try:
            session_id, _, method = self._unsign(token).decode().partition(".")
            return Target(session_id, CallbackMethod(method))
        except (BadSignature, ValueError):
            return None
