"""What is asked of Telnyx: to start a session, to stop it, and how its call is.

Source: developers.telnyx.com/api-reference/texml-rest-commands/request-siprec-session-for-a-call
and …/updates-siprec-session-for-a-call
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError
from urllib3.util.retry import Retry

from service import metrics
from service.domain.notice import Error, ErrorKind, Notice, NoticeKind
from service.domain.overdue import Call
from service.domain.start import Order
from service.telnyx import answer
from service.telnyx.http import Bearer, session

CONNECT_TIMEOUT_SECONDS = 3.05
LONGEST_SID = 255
LARGEST_ANSWER = 1024 * 1024  # bytes; Telnyx's have a few hundred

# Only what cannot have started anything is asked again: a request that never left, and a 429 that names no
# wait or one of LONGEST_WAIT at most. urllib3 could repeat that too, but first it reads the answer, however
# long it is.
LONGEST_WAIT = timedelta(seconds=1)
PAUSES_SECONDS = (0.3, 1.0)  # at least, before the second and the third try
RETRY_SECONDS = 2.5  # since the first try began: no further one begins later
CONNECT_RETRIES = 2
LONGEST_BACKOFF_SECONDS = 0.4
# read=False, not 0: with 0 a timeout comes disguised as something else.
RETRIES = Retry(
    total=None,
    connect=CONNECT_RETRIES,
    status=0,
    read=False,
    redirect=False,
    other=0,
    allowed_methods=None,
    backoff_factor=0.2,
    backoff_max=LONGEST_BACKOFF_SECONDS,
    respect_retry_after_header=False,
)

log = logging.getLogger(__name__)


def longest_seconds(timeout_seconds: float) -> float:
    """How long one start or stop can take, where Telnyx's name leads to one address that is found at once."""
    connecting = (1 + CONNECT_RETRIES) * _connect_timeout(timeout_seconds)
    pauses = CONNECT_RETRIES * LONGEST_BACKOFF_SECONDS
    # The head of the answer, then its body until the deadline, and the read that the deadline falls into.
    return RETRY_SECONDS + connecting + pauses + 3 * timeout_seconds


def _connect_timeout(timeout_seconds: float) -> float:
    return min(CONNECT_TIMEOUT_SECONDS, timeout_seconds)


class Client:
    """Telnyx's TeXML REST API. Safe to share between threads; never raises for what Telnyx does.

    `api_key` is for every account that has none of its own in `account_keys`; without either, nothing can be
    asked for an account: see `has_key`.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        timeout_seconds: float,
        clock: Callable[[], datetime],
        account_keys: Mapping[str, str] | None = None,
    ) -> None:
        self._base_url = base_url
        self._timeout = (_connect_timeout(timeout_seconds), timeout_seconds)
        self._clock = clock
        self._auth = None if api_key is None else Bearer(api_key)
        self._auth_of = {account_sid: Bearer(key) for account_sid, key in (account_keys or {}).items()}

    def has_key(self, account_sid: str) -> bool:
        return self._auth is not None or account_sid in self._auth_of

    def start(self, order: Order, status_callback: str) -> Notice:
        """Telnyx's answer as a notice: accepted, refused or unanswered."""
        path = ("Calls", order.call_sid, "Siprec.json")
        result = self._post(order.account_sid, path, _form(order, status_callback))
        now = self._clock()
        if isinstance(result, Error):
            kind = NoticeKind.UNANSWERED if result.kind is ErrorKind.NO_ANSWER else NoticeKind.REFUSED
            return Notice(kind, received_at=now, error=result)
        sid = result.get("sid")
        if not isinstance(sid, str) or not 0 < len(sid) <= LONGEST_SID or not sid.isprintable():
            error = Error(ErrorKind.NO_ANSWER, 200, detail="the answer names no sid that can be read")
            return Notice(NoticeKind.UNANSWERED, received_at=now, error=error)
        return Notice(NoticeKind.ACCEPTED, received_at=now, siprec_sid=sid)

    def stop(self, account_sid: str, call_sid: str, siprec_sid: str) -> Error | None:
        """None if Telnyx took it; that the session has ended only its callback says."""
        path = ("Calls", call_sid, "Siprec", f"{siprec_sid}.json")
        result = self._post(account_sid, path, {"Status": "stopped"})
        return result if isinstance(result, Error) else None

    def call(self, account_sid: str, call_sid: str) -> Call | Error:
        """How the call is, by one request: Telnyx's word of it may be some seconds old.

        Source: developers.telnyx.com, GET /texml/Accounts/{account_sid}/Calls/{call_sid}
        """
        url = self._url(account_sid, ("Calls", call_sid))
        result = url if isinstance(url, Error) else self._ask(self._auth_for(account_sid), "GET", url)
        return result if isinstance(result, Error) else answer.call(result)

    def _post(
        self, account_sid: str, path: Sequence[str], form: Mapping[str, str]
    ) -> Mapping[str, Any] | Error:
        """`path` is below the account's."""
        auth, url = self._auth_for(account_sid), self._url(account_sid, path)
        if isinstance(url, Error):
            return url
        latest = time.monotonic() + RETRY_SECONDS
        for pause_seconds in PAUSES_SECONDS:
            result = self._ask(auth, "POST", url, form)
            if not isinstance(result, Error) or result.kind is not ErrorKind.RATE_LIMITED:
                return result
            wait = result.retry_after or timedelta(0)
            pause_seconds = max(pause_seconds, wait.total_seconds())
            if wait > LONGEST_WAIT or time.monotonic() + pause_seconds > latest:
                return result
            time.sleep(pause_seconds)
        return self._ask(auth, "POST", url, form)

    def _auth_for(self, account_sid: str) -> AuthBase:
        auth = self._auth_of.get(account_sid, self._auth)
        assert auth is not None, "has_key was not asked"
        return auth

    def _url(self, account_sid: str, path: Sequence[str]) -> str | Error:
        """`path` is below the account's."""
        path = ("Accounts", account_sid, *path)
        if {".", ".."} & set(path):  # quoting does not help: requests would still walk up
            return Error(ErrorKind.REJECTED, detail="a sid cannot be . or ..")
        return "/".join([self._base_url, "texml", *(quote(part, safe=":") for part in path)])

    def _ask(
        self, auth: AuthBase, method: str, url: str, form: Mapping[str, str] | None = None
    ) -> Mapping[str, Any] | Error:
        began = time.monotonic()
        result = self._ask_once(auth, method, url, form)
        outcome = result.kind.value if isinstance(result, Error) else metrics.OK
        metrics.count_telnyx_request(outcome, time.monotonic() - began)
        return result

    def _ask_once(
        self, auth: AuthBase, method: str, url: str, form: Mapping[str, str] | None
    ) -> Mapping[str, Any] | Error:
        limits: dict[str, Any] = {"timeout": self._timeout, "allow_redirects": False, "stream": True}
        try:
            with session(auth, RETRIES) as http, http.request(method, url, data=form, **limits) as response:
                document = self._document(response)
                return answer.read(response.status_code, response.headers, document, self._clock())
        except requests.RequestException as cause:
            log.warning("telnyx did not answer: %s", type(cause).__name__)
            return answer.missing(cause)

    def _document(self, response: requests.Response) -> Any:
        """The JSON in the answer; None if it is none, breaks off, is too large or too long in coming."""
        body, deadline = bytearray(), time.monotonic() + self._timeout[1]
        try:
            while part := response.raw.read1(LARGEST_ANSWER, decode_content=True):
                body += part
                if len(body) > LARGEST_ANSWER or time.monotonic() > deadline:
                    return None
            return json.loads(body.decode(response.encoding or "utf-8", "replace"))
        except (HTTPError, LookupError, ValueError, RecursionError):
            return None


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
