"""The URL that Telnyx calls back to: it holds a session's id, signed, so that nobody else can make one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from itsdangerous import BadSignature, Signer


class CallbackUrls:
    """Makes callback URLs with the first of `secrets`, and reads those of all of them."""

    def __init__(self, public_url: str, secrets: Sequence[str]) -> None:
        oldest_first = list(reversed(secrets))  # the last one signs
        self._signer = Signer(
            oldest_first, salt="siprec-callback", key_derivation="hmac", digest_method=hashlib.sha256
        )
        self._public_url = public_url

    def of(self, session_id: str) -> str:
        """`{PUBLIC_URL}/callbacks/siprec/<token>`"""
        return f"{self._public_url}/callbacks/siprec/{self._signer.sign(session_id).decode()}"

    def session_id(self, token: str) -> str | None:
        """The session that `token` names; None if the token is not ours."""
        try:
            return self._signer.unsign(token).decode()
        except (BadSignature, UnicodeError):
            return None
