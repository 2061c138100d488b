"""What an answer of Telnyx means: done, refused, or that nobody knows."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError, SSLError

from service.domain.notice import Error, ErrorKind
from service.domain.overdue import Call

LONGEST_DETAIL = 1000
LONGEST_STATUS = 64
NEVER_LEFT = (NewConnectionError, ConnectTimeoutError, ProxyError, ssl.SSLCertVerificationError)
# Where a 429 says how long to wait. The first is not promised; the second counts seconds, too.
WAIT_HEADERS = ("Retry-After", "x-ratelimit-reset")
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def read(status: int, headers: Mapping[str, str], document: Any, now: datetime) -> Mapping[str, Any] | Error:
    """The document of a success, or what went wrong. `document` is None where it cannot be read."""
    if not 200 <= status < 300:
        return _refusal(status, headers, document, now)
    if isinstance(document, dict):
        return document
    return Error(ErrorKind.NO_ANSWER, status, detail="the answer cannot be read")


def call(document: Mapping[str, Any]) -> Call | Error:
    """How a call is, by the document that tells of it."""
    status, ended_at = document.get("status"), document.get("end_time")
    if not isinstance(status, str) or not 0 < len(status) <= LONGEST_STATUS or not status.isprintable():
        return Error(ErrorKind.NO_ANSWER, 200, detail="the answer names no status of the call")
    return Call(status, _moment(ended_at) if isinstance(ended_at, str) else None)


def missing(cause: requests.RequestException) -> Error:
    """There is no answer at all."""
    if never_left(cause):
        return Error(ErrorKind.UNREACHABLE, detail="Telnyx could not be reached")
    if isinstance(cause, requests.Timeout):
        return Error(ErrorKind.NO_ANSWER, detail="Telnyx did not answer in time")
    return Error(ErrorKind.NO_ANSWER, detail="the connection broke before Telnyx answered")


def never_left(cause: requests.RequestException) -> bool:
    """Whether the cause lies before the first byte of the request was sent."""
    wrapped = cause.args[0] if cause.args else None  # urllib3's MaxRetryError, which holds the reason
    reason = getattr(wrapped, "reason", wrapped)
    if isinstance(reason, SSLError):
        reason = reason.args[0] if reason.args else reason
    return isinstance(reason, NEVER_LEFT)


def _refusal(status: int, headers: Mapping[str, str], document: Any, now: datetime) -> Error:
    errors = document.get("errors") if isinstance(document, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    members = first if isinstance(first, dict) else {}
    code, detail = members.get("code"), members.get("detail") or members.get("title")
    wait = _wait(headers, now) if status == 429 else None
    return Error(_kind(status), status, _clean(code), _clean(detail), wait)


def _kind(status: int) -> ErrorKind:
    if status in {401, 403}:
        return ErrorKind.CREDENTIALS
    if status == 429:
        return ErrorKind.RATE_LIMITED
    if 400 <= status < 500 and status != 408:
        return ErrorKind.REJECTED
    return ErrorKind.NO_ANSWER  # 408 included: it does not say that nothing was done


def _wait(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """How long to wait before the same is asked again; None if nothing readable says so."""
    waits = (_read_wait(headers.get(name, "").strip(), now) for name in WAIT_HEADERS)
    return next((wait for wait in waits if wait is not None), None)


def _read_wait(text: str, now: datetime) -> timedelta | None:
    if SECONDS.fullmatch(text):
        return timedelta(seconds=float(text))
    moment = _moment(text)
    return None if moment is None else max(moment - now, timedelta(0))


def _moment(text: str) -> datetime | None:
    """As RFC 2822 writes it, or ISO 8601; no zone means UTC."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text)
            return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _clean(value: Any) -> str | None:
    """Telnyx's words, as a database and a JSON document can hold them."""
    if not isinstance(value, str | int):
        return None
    text = str(value).encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text[:LONGEST_DETAIL] or None
