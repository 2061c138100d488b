"""Composes status callbacks: developers.telnyx.com/api-reference/callbacks/texml-siprec."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import cached_property
from urllib.parse import urlencode

from .behaviour import FAILED, Behaviour, TimestampFormat
from .sessions import CallbackMethod, Session

TIMESTAMP_FORMATS: dict[TimestampFormat, Callable[[datetime], str]] = {
    "iso8601": lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    "iso8601-without-zone": lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.%f"),
    "rfc2822": format_datetime,
}


@dataclass(frozen=True)
class Callback:
    """One event on its way to a StatusCallback; its repeats and retries carry the same fields."""

    event: str
    url: str | None
    method: CallbackMethod
    fields: Mapping[str, str]
    behaviour: Behaviour

    @cached_property
    def form(self) -> bytes:
        # Lone surrogates stand for bytes that are not UTF-8, so that broken encodings can be sent too.
        return urlencode(self.fields, errors="surrogateescape").encode()

    @property
    def body(self) -> bytes:
        return b"" if self.method == "GET" else self.form

    @property
    def target(self) -> str:
        """The URL that is asked for: a GET carries the fields in its query."""
        url = self.url or ""
        if self.method == "POST":
            return url
        return f"{url}{'&' if '?' in url else '?'}{self.form.decode()}"


def compose(session: Session, event: str, at: datetime, behaviour: Behaviour) -> Callback:
    """The callback that tells of `event`, which happened at `at` (UTC)."""
    fields: dict[str, str | None] = {
        "AccountSid": session.account_sid,
        "CallSid": session.call_sid,
        "SiprecSid": session.sid,
        "SiprecEvent": event,
        "Timestamp": TIMESTAMP_FORMATS[behaviour.timestamp_format](at),
    }
    if event == FAILED:
        fields["SiprecError"] = behaviour.fails or "no-answer"
    fields.update(behaviour.fields)
    said = {name: value for name, value in fields.items() if value is not None}
    return Callback(event, session.status_callback, session.status_callback_method, said, behaviour)
