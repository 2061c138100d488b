"""What Telnyx calls back with: whether it is Telnyx's, and what it says.

Source: developers.telnyx.com/api-reference/callbacks/texml-siprec
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from service.domain.callback import Callback, Delivery
from service.domain.session import Error, ErrorKind, Notice, NoticeKind, is_plausible
from service.telnyx.callback_url import CallbackUrls
from service.telnyx.form import Form

SIGNATURE_AGE_LIMIT = timedelta(seconds=300)  # what Telnyx's SDKs allow, either way
LONGEST_ID = 255  # bytes; an index takes no more than 2700, and three ids are one adopted session's key
LONGEST_TEXT = 255
LONGEST_ERROR = 1000


class RejectionReason(StrEnum):
    """Why a delivery is not taken for Telnyx's."""

    UNSIGNED = "there is no signature"
    FORGED = "the signature does not fit"
    UNKNOWN_TOKEN = "unsigned, and the token is not ours"  # noqa: S105
    UNBOUND = "a GET's fields are not signed, and no token of ours binds them"


class RejectedCallback(Exception):
    def __init__(self, doubt: RejectionReason) -> None:
        super().__init__(doubt.value)
        self.doubt = doubt


class Reader:
    """Judges deliveries. `public_keys` are Telnyx's, base64; a signature by any of them counts."""

    def __init__(
        self, public_keys: Sequence[str], callback_urls: CallbackUrls, *, must_be_signed: bool
    ) -> None:
        keys = [VerifyKey(base64.b64decode(key)) for key in public_keys]
        self._keys = [(key, f"ed25519:{hashlib.sha256(bytes(key)).hexdigest()[:16]}") for key in keys]
        self._addresses = callback_urls
        self._must_be_signed = must_be_signed

    def read(self, delivery: Delivery) -> Callback:
        """Raises RejectedCallback."""
        session_id = self._addresses.session_id(delivery.token) if delivery.token else None
        verified_by = self._signer(delivery)
        if verified_by is None:
            self._accept_unsigned(delivery, session_id)
        if delivery.method == "GET" and session_id is None:
            raise RejectedCallback(RejectionReason.UNBOUND)
        return parse(delivery, session_id, verified_by or "token")

    def _signer(self, delivery: Delivery) -> str | None:
        signature = delivery.headers.get("telnyx-signature-ed25519")
        if signature is None:
            return None
        timestamp = delivery.headers.get("telnyx-timestamp", "")
        signed = timestamp.encode("latin-1", "replace") + b"|" + delivery.body
        for key, name in self._keys:
            if _fits(key, signature, signed):
                return name
        raise RejectedCallback(RejectionReason.FORGED)

    def _accept_unsigned(self, delivery: Delivery, session_id: str | None) -> None:
        if delivery.token is not None and session_id is None:
            raise RejectedCallback(RejectionReason.UNKNOWN_TOKEN)
        if self._must_be_signed or session_id is None:
            raise RejectedCallback(RejectionReason.UNSIGNED)


def _fits(key: VerifyKey, signature: str, signed: bytes) -> bool:
    try:
        key.verify(signed, base64.b64decode(signature, validate=True))
    except (BadSignatureError, binascii.Error, ValueError):
        return False
    return True


def parse(delivery: Delivery, session_id: str | None, verified_by: str) -> Callback:
    """What a genuine delivery says, as far as it can be read. Never raises."""
    form = Form.of(delivery.method, delivery.query, delivery.body)
    problems = list(form.problems)
    if verified_by != "token":
        problems += _staleness(delivery)
    if delivery.method == "POST" and delivery.query:
        problems.append("the query is not signed, and was not read")
    if delivery.method == "GET" and delivery.body:
        problems.append("the body of a GET was not read")
    event = _text(form, "SiprecEvent", LONGEST_TEXT, problems)
    happened_at = _moment(form, problems)
    notice = Notice(
        kind=NoticeKind.of_event(event),
        received_at=delivery.received_at,
        happened_at=happened_at,
        time_is_plausible=is_plausible(happened_at, delivery.received_at),
        digest=form.digest,
        account_sid=_id(form, "AccountSid", problems),
        call_sid=_id(form, "CallSid", problems),
        siprec_sid=_id(form, "SiprecSid", problems),
        error=_error(form, event, problems),
    )
    if event is not None and notice.kind is NoticeKind.OTHER:
        problems.append("nobody has heard of this SiprecEvent")
    return Callback(delivery, session_id, verified_by, event, notice, "; ".join(problems) or None)


def _staleness(delivery: Delivery) -> list[str]:
    text = delivery.headers.get("telnyx-timestamp", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        return ["telnyx-timestamp is not a time"]
    age = delivery.received_at.timestamp() - int(text)
    return [f"signed {age:.0f} s before it came"] if abs(age) > SIGNATURE_AGE_LIMIT.total_seconds() else []


def _text(form: Form, name: str, longest: int, problems: list[str]) -> str | None:
    """The field, cut to `longest` characters; a problem if it is missing."""
    value = form.get(name)
    if not value:
        problems.append(f"{name} is missing")
        return None
    if len(value) > longest:
        problems.append(f"{name} is longer than {longest} characters, and was cut")
    return value[:longest]


def _id(form: Form, name: str, problems: list[str]) -> str | None:
    if len((form.get(name) or "").encode()) > LONGEST_ID:
        problems.append(f"{name} is longer than {LONGEST_ID} bytes, and was not read")
        return None
    return _text(form, name, LONGEST_ID, problems)


def _error(form: Form, event: str | None, problems: list[str]) -> Error | None:
    if event != NoticeKind.FAILED.label:
        return None
    return Error(ErrorKind.SIPREC_FAILED, detail=_text(form, "SiprecError", LONGEST_ERROR, problems))


def _moment(form: Form, problems: list[str]) -> datetime | None:
    text = _text(form, "Timestamp", LONGEST_TEXT, problems)
    if text is None:
        return None
    moment = read_time(text)
    if moment is None:
        problems.append("Timestamp is not a time")
    return moment


def read_time(text: str) -> datetime | None:
    """ISO 8601 or RFC 2822, in UTC; without a zone it is UTC. None if it is neither."""
    for parse in (_iso, parsedate_to_datetime):
        try:
            moment = parse(text.strip())
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _iso(text: str) -> datetime:
    if len(text) < len("20230811T1912"):
        raise ValueError("a date is not a time")
    return datetime.fromisoformat(text)
