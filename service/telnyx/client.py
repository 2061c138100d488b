"""What is asked of Telnyx: to start a session, and to stop it.

Source: developers.telnyx.com/api-reference/texml-rest-commands/request-siprec-session-for-a-call
and …/updates-siprec-session-for-a-call
"""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProxyError, SSLError
from urllib3.util.retry import Retry

from service.domain.session import Error, ErrorKind, Notice, NoticeKind, Order

CONNECT_TIMEOUT_SECONDS = 3.05
LONGEST_DETAIL = 1000
LONGEST_SID = 255
LARGEST_ANSWER = 1024 * 1024  # bytes; Telnyx's have a few hundred

# Only what cannot have started anything is asked again: a request that never left, and, after these
# pauses, a 429. urllib3 could repeat that too, but first it reads the answer, however long it is.
PAUSES_SECONDS = (0.3, 1.0)
# read=False, not 0: with 0 a timeout comes disguised as something else.
RETRIES = Retry(
    total=None,
    connect=2,
    status=0,
    read=False,
    redirect=False,
    other=0,
    allowed_methods=None,
    backoff_factor=0.2,
    backoff_max=1,
    respect_retry_after_header=False,
)
NEVER_LEFT = (NewConnectionError, ConnectTimeoutError, ProxyError, ssl.SSLCertVerificationError)

log = logging.getLogger(__name__)


class Client:
    """Telnyx's TeXML REST API. Safe to share between threads; never raises for what Telnyx does."""

    def __init__(
        self, base_url: str, api_key: str, timeout_seconds: float, clock: Callable[[], datetime]
    ) -> None:
        self._base_url = base_url
        self._timeout = (min(CONNECT_TIMEOUT_SECONDS, timeout_seconds), timeout_seconds)
        self._clock = clock
        self._auth = _Bearer(api_key)

    def start(self, order: Order, status_callback: str) -> Notice:
        """Telnyx's answer as a notice: accepted, refused or unanswered."""
        path = ("Accounts", order.account_sid, "Calls", order.call_sid, "Siprec.json")
        answer = self._post(path, _form(order, status_callback))
        now = self._clock()
        if isinstance(answer, Error):
            kind = NoticeKind.UNANSWERED if answer.kind is ErrorKind.NO_ANSWER else NoticeKind.REFUSED
            return Notice(kind, received_at=now, error=answer)
        sid = answer.get("sid")
        if not isinstance(sid, str) or not 0 < len(sid) <= LONGEST_SID or not sid.isprintable():
            error = Error(ErrorKind.NO_ANSWER, 200, detail="the answer names no sid that can be read")
            return Notice(NoticeKind.UNANSWERED, received_at=now, error=error)
        return Notice(NoticeKind.ACCEPTED, received_at=now, siprec_sid=sid)

    def stop(self, account_sid: str, call_sid: str, siprec_sid: str) -> Error | None:
        """None if Telnyx took it; that the session has ended only its callback says."""
        path = ("Accounts", account_sid, "Calls", call_sid, "Siprec", f"{siprec_sid}.json")
        answer = self._post(path, {"Status": "stopped"})
        return answer if isinstance(answer, Error) else None

    def _post(self, path: Sequence[str], form: Mapping[str, str]) -> Mapping[str, Any] | Error:
        if {".", ".."} & set(path):  # quoting does not help: requests would still walk up
            return Error(ErrorKind.REJECTED, detail="a sid cannot be . or ..")
        url = "/".join([self._base_url, "texml", *(quote(part, safe=":") for part in path)])
        for pause in PAUSES_SECONDS:
            answer = self._ask(url, form)
            if not isinstance(answer, Error) or answer.kind is not ErrorKind.RATE_LIMITED:
                return answer
            time.sleep(pause)
        return self._ask(url, form)

    def _ask(self, url: str, form: Mapping[str, str]) -> Mapping[str, Any] | Error:
        try:
            with (
                self._session() as http,
                http.post(
                    url, data=form, timeout=self._timeout, allow_redirects=False, stream=True
                ) as response,
            ):
                return _read(response.status_code, self._document(response))
        except requests.RequestException as trouble:
            log.warning("telnyx gave no answer: %s", type(trouble).__name__)
            kind = ErrorKind.UNREACHABLE if _never_left(trouble) else ErrorKind.NO_ANSWER
            return Error(kind, detail=_reason(trouble))

    def _session(self) -> requests.Session:
        """A new one for every request, so that no connection is used twice.

        A kept one may be closed by Telnyx just as we write to it, and then nobody knows whether the request
        arrived. A fresh one costs a handshake and leaves no doubt. The header alone only asks for it.
        """
        http = requests.Session()
        http.auth = self._auth
        http.headers.update({"Connection": "close", "Accept": "application/json"})
        for scheme in ("http://", "https://"):
            http.mount(scheme, HTTPAdapter(max_retries=RETRIES))
        return http

    def _document(self, response: requests.Response) -> Any:
        """The JSON in the answer; None if it is none, breaks off, is too large or too long in coming."""
        body, give_up = bytearray(), time.monotonic() + self._timeout[1]
        try:
            while part := response.raw.read1(LARGEST_ANSWER, decode_content=True):
                body += part
                if len(body) > LARGEST_ANSWER or time.monotonic() > give_up:
                    return None
            return json.loads(body.decode(response.encoding or "utf-8", "replace"))
        except (HTTPError, LookupError, ValueError, RecursionError):
            return None


class _Bearer(AuthBase):
    """Set as `auth`, not as a header, because requests lets a netrc file overrule the header."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


def _form(order: Order, status_callback: str) -> dict[str, str]:
    fields: dict[str, object] = {
        "ConnectorName": order.connector_name,
        "Name": order.name,
        "Track": order.track,
        "IncludeMetadataCustomHeaders": order.include_metadata_custom_headers,
        "Secure": order.secure,
        "SessionTimeoutSecs": order.session_timeout_secs,
        "SipTransport": order.sip_transport,
        "StatusCallback": status_callback,
        "StatusCallbackMethod": order.status_callback_method,
    }
    return {name: _text(value) for name, value in fields.items() if value is not None}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(status: int, document: Any) -> Mapping[str, Any] | Error:
    if not 200 <= status < 300:
        return _error(status, document)
    if isinstance(document, dict):
        return document
    return Error(ErrorKind.NO_ANSWER, status, detail="the answer cannot be read")


def _error(status: int, body: Any) -> Error:
    first = body.get("errors") if isinstance(body, dict) else None
    first = first[0] if isinstance(first, list) and first else None
    told = first if isinstance(first, dict) else {}
    code, detail = told.get("code"), told.get("detail") or told.get("title")
    return Error(_kind(status), status, _clean(code), _clean(detail))


def _kind(status: int) -> ErrorKind:
    if status in {401, 403}:
        return ErrorKind.CREDENTIALS
    if status == 429:
        return ErrorKind.RATE_LIMITED
    if 400 <= status < 500 and status != 408:
        return ErrorKind.REJECTED
    return ErrorKind.NO_ANSWER  # 408 included: it does not say that nothing was done


def _clean(value: Any) -> str | None:
    """Telnyx's words, as a database and a JSON document can hold them."""
    if not isinstance(value, str | int):
        return None
    text = str(value).encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text[:LONGEST_DETAIL] or None


def _never_left(trouble: requests.RequestException) -> bool:
    """Whether the cause lies before the first byte of the request was sent."""
    cause = trouble.args[0] if trouble.args else None  # urllib3's MaxRetryError, which holds the reason
    reason = getattr(cause, "reason", cause)
    if isinstance(reason, SSLError):
        reason = reason.args[0] if reason.args else reason
    return isinstance(reason, NEVER_LEFT)


def _reason(trouble: requests.RequestException) -> str:
    if isinstance(trouble, requests.Timeout):
        return "Telnyx did not answer in time"
    if _never_left(trouble):
        return "Telnyx could not be reached"
    return "the connection broke before Telnyx answered"
