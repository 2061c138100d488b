"""What Telnyx calls back with: whether it is Telnyx's, and what it says.

Source: developers.telnyx.com/api-reference/callbacks/texml-siprec
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from service.domain.callback import Callback, Delivery
from service.domain.notice import Error, ErrorKind, Notice, NoticeKind, is_plausible
from service.domain.start import CallbackMethod
from service.telnyx import signature
from service.telnyx.callback_form import Form, account_sid_of
from service.telnyx.callback_url import CallbackUrls, Target
from service.telnyx.signature import ForgedCallback, PublicKey, UnreadableTimestamp

LONGEST_ID = 255  # bytes; an index takes no more than 2700, and three ids are one adopted session's key
LONGEST_TEXT = 255
LONGEST_ERROR = 1000


class RejectionReason(StrEnum):
    """Why a delivery is not taken for Telnyx's."""

    UNSIGNED = "no signature"
    FORGED = "the signature does not fit"
    NOT_ITS_ACCOUNTS = "the signature fits no key that vouches for this account's callbacks"
    UNREADABLE_TIMESTAMP = "telnyx-timestamp is not a number of seconds"
    UNKNOWN_TOKEN = "no signature, and a token that is not ours"  # noqa: S105
    GET_WITHOUT_TOKEN = "a GET without a token of ours: its fields are not signed"  # noqa: S105
    GET_NOT_ORDERED = "a GET, where POST was asked for"
    GET_WITH_BODY = "a GET with a body: its signature is that of a POST"


class RejectedCallback(Exception):
    def __init__(self, reason: RejectionReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Reader:
    """Judges deliveries. `public_keys` are Telnyx's, base64; a signature by any of them counts.

    One by a key of `account_keys` counts for a POST whose body names the key's account; never for a GET, as
    nothing that names an account is signed there.
    """

    def __init__(
        self,
        public_keys: Sequence[str],
        callback_urls: CallbackUrls,
        *,
        must_be_signed: bool,
        account_keys: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._keys = [PublicKey.read(key) for key in public_keys]
        self._account_keys = {
            account_sid: [PublicKey.read(key) for key in keys]
            for account_sid, keys in (account_keys or {}).items()
        }
        self._callback_urls = callback_urls
        self._must_be_signed = must_be_signed

    def read(self, delivery: Delivery) -> Callback:
        """Looks nothing up and writes nothing. Raises RejectedCallback."""
        target = self._callback_urls.read(delivery.token) if delivery.token else None
        verified_by = self._verify(delivery)
        if verified_by is None:
            self._check_unsigned(delivery, target)
        if delivery.method == "GET":
            _check_get(delivery, target)
        return parse(delivery, target.session_id if target else None, verified_by or "token")

    def _verify(self, delivery: Delivery) -> str | None:
        """The name of the key that signed it; None if there is no signature."""
        text = delivery.headers.get("telnyx-signature-ed25519")
        if text is None:
            return None
        timestamp = delivery.headers.get("telnyx-timestamp", "")
        keys = [*self._own_keys(delivery), *self._keys] if self._account_keys else self._keys
        try:
            return signature.verify(keys, timestamp, text, delivery.body)
        except ForgedCallback:
            reason = RejectionReason.NOT_ITS_ACCOUNTS if self._account_keys else RejectionReason.FORGED
            raise RejectedCallback(reason) from None
        except UnreadableTimestamp:
            raise RejectedCallback(RejectionReason.UNREADABLE_TIMESTAMP) from None

    def _own_keys(self, delivery: Delivery) -> Sequence[PublicKey]:
        """Those of the account that the body names, so a forged one is not tried with every account's.

        A GET has no body: the account in its query is not signed.
        """
        return self._account_keys.get(account_sid_of(delivery.body) or "", ())

    def _check_unsigned(self, delivery: Delivery, target: Target | None) -> None:
        if delivery.token is not None and target is None:
            raise RejectedCallback(RejectionReason.UNKNOWN_TOKEN)
        if self._must_be_signed or target is None:
            raise RejectedCallback(RejectionReason.UNSIGNED)


def _check_get(delivery: Delivery, target: Target | None) -> None:
    """A GET is read by its query, which nobody signs: only its token can vouch for it."""
    if delivery.body:
        raise RejectedCallback(RejectionReason.GET_WITH_BODY)
    if target is None:
        raise RejectedCallback(RejectionReason.GET_WITHOUT_TOKEN)
    if target.method is not CallbackMethod.GET:
        raise RejectedCallback(RejectionReason.GET_NOT_ORDERED)


def parse(delivery: Delivery, session_id: str | None, verified_by: str) -> Callback:
    """What a genuine delivery says, as far as it can be read. Never raises."""
    form = Form.of(delivery.method, delivery.query, delivery.body)
    problems = list(form.problems)
    if verified_by != "token":
        problems += _staleness(delivery)
    if delivery.method == "POST" and delivery.query:
        problems.append("the query is not signed, and was not read")
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
        problems.append("SiprecEvent is unknown")
    return Callback(delivery, session_id, verified_by, event, notice, "; ".join(problems) or None)


def _staleness(delivery: Delivery) -> list[str]:
    age = signature.age_seconds(delivery.headers["telnyx-timestamp"], delivery.received_at)
    return [f"signed {age:.0f} s before it came"] if abs(age) > signature.AGE_LIMIT_SECONDS else []


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
