"""Brings callbacks to their receivers, as patiently and as often as Telnyx does."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event

import requests
from urllib3.exceptions import HTTPError

from .callbacks import Callback
from .scheduler import Scheduler
from .sessions import now
from .signature import Signer
from .traffic import Delivery

Report = Callable[[Delivery], object]
GLANCE_SECONDS = 0.05


class Dispatcher:
    """Delivers callbacks, and reports every attempt."""

    def __init__(
        self,
        scheduler: Scheduler,
        signer_of: Callable[[str | None], Signer],
        ca_file: Path | None,
        reports: Iterable[Report],
    ) -> None:
        """`signer_of` leads from an AccountSid to who signs its callbacks."""
        self._scheduler = scheduler
        self._signer_of = signer_of
        self._ca_file = ca_file
        self._reports = reports
        self.is_open = Event()  # while it is not, what is to be delivered waits
        self.is_open.set()

    def deliver(self, callback: Callback) -> None:
        """Return when every copy of `callback` was delivered or given up."""
        while not self.is_open.is_set():
            if not self._scheduler.sleep(GLANCE_SECONDS):
                return
        behaviour = callback.behaviour
        with ThreadPoolExecutor(behaviour.repeat if behaviour.repeat_at_once else 1) as copies:
            list(copies.map(self._deliver_one, [callback] * behaviour.repeat))

    def send(self, callback: Callback, attempt: int = 1) -> Delivery:
        """Make one attempt now, in this thread."""
        headers = self._headers(callback)
        at, began = now(), time.monotonic()
        status, error = self._ask(callback, headers)
        seconds = time.monotonic() - began
        delivery = Delivery(
            at=at,
            url=callback.target,
            method=callback.method,
            event=callback.event,
            fields=callback.fields,
            headers=headers,
            body=callback.body,
            attempt=attempt,
            status=status,
            seconds=seconds,
            error=error,
        )
        for report in self._reports:
            report(delivery)
        return delivery

    def _deliver_one(self, callback: Callback) -> None:
        wait_seconds = callback.behaviour.backoff_seconds
        for attempt in range(1, callback.behaviour.attempts + 1):
            delivery = self.send(callback, attempt)
            is_last = attempt == callback.behaviour.attempts
            if is_last or not delivery.is_worth_repeating or not self._scheduler.sleep(wait_seconds):
                return
            wait_seconds *= 2

    def _headers(self, callback: Callback) -> dict[str, str]:
        headers = {"user-agent": "telnyx-sandbox", "connection": "close"}
        if callback.method == "POST":
            headers["content-type"] = "application/x-www-form-urlencoded"
        if not callback.behaviour.unsigned:
            signer = self._signer_of(callback.fields.get("AccountSid"))
            sign = signer.forge if callback.behaviour.forge else signer.sign
            at = now() + timedelta(seconds=callback.behaviour.clock_skew_seconds)
            headers.update(sign(callback.body, at))
        return headers

    def _ask(self, callback: Callback, headers: dict[str, str]) -> tuple[int | None, str | None]:
        """The status that the receiver answered, and what was wrong."""
        timeout_seconds = callback.behaviour.timeout_seconds
        too_late = f"no answer within {timeout_seconds:g} s"
        began = time.monotonic()
        with requests.Session() as http:
            http.trust_env = False  # no proxies and no .netrc of whoever runs the sandbox
            http.verify = True if self._ca_file is None else str(self._ca_file)
            try:
                response = http.request(
                    callback.method,
                    callback.target,
                    data=callback.body or None,
                    headers=headers,
                    timeout=timeout_seconds,
                    allow_redirects=False,
                    stream=True,  # the body is nobody's business, and may be endless
                )
            except requests.Timeout:
                return None, too_late
            except (requests.RequestException, HTTPError, OSError, ValueError) as error:
                return None, _reason(error)
        if time.monotonic() - began > timeout_seconds:  # a trickle of bytes can outlive the socket's timeout
            return None, too_late
        status = response.status_code
        return status, None if status == 200 else f"answered {status}, not 200"


def _reason(error: Exception) -> str:
    """Why there was no answer, in the words of the innermost cause."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    words = getattr(cause, "strerror", None) or str(cause)
    if isinstance(error, requests.exceptions.SSLError):
        return f"TLS failed: {words}"
    return words if isinstance(cause, OSError) else f"{type(cause).__name__}: {words!r}"
