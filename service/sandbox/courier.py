"""Brings callbacks to their receivers, as patiently and as often as Telnyx does."""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from threading import Lock

import requests
from urllib3.exceptions import HTTPError

from .agenda import Agenda
from .callbacks import Callback
from .records import Delivery
from .sessions import now
from .signature import Signer

Told = Callable[[], None]


class Courier:
    """Delivers callbacks on the agenda's threads and reports every attempt."""

    def __init__(self, agenda: Agenda, signer: Signer, report: Callable[[Delivery], None]) -> None:
        self._agenda = agenda
        self._signer = signer
        self._report = report

    def carry(self, callback: Callback, told: Told) -> None:
        """Deliver all copies of `callback`; call `told` when each was delivered or given up."""
        behaviour = callback.behaviour
        if callback.url is None or callback.event in behaviour.drop:
            told()
        elif behaviour.repeat_at_once:
            last_told = _after(behaviour.repeat, told)
            for _ in range(behaviour.repeat):
                self._agenda.add(0, partial(self._try, callback, 1, last_told))
        else:
            self._carry_copies(callback, behaviour.repeat, told)

    def send(self, callback: Callback, attempt: int = 1) -> Delivery:
        """Make one attempt now, in this thread."""
        headers = self._headers(callback)
        at, began = now(), time.monotonic()
        status, error = _ask(callback, headers)
        seconds = time.monotonic() - began
        if status is not None and seconds > callback.behaviour.patience_seconds:
            status, error = None, _too_late(callback)  # a trickle of bytes can outlive the socket's timeout
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
        self._report(delivery)
        return delivery

    def _carry_copies(self, callback: Callback, count: int, told: Told) -> None:
        then = partial(self._carry_copies, callback, count - 1, told) if count > 1 else told
        self._agenda.add(0, partial(self._try, callback, 1, then))

    def _try(self, callback: Callback, attempt: int, then: Told) -> None:
        delivery = self.send(callback, attempt)
        behaviour = callback.behaviour
        if delivery.is_worth_repeating and attempt < behaviour.attempts:
            wait_seconds = behaviour.backoff_seconds * 2 ** (attempt - 1)
            self._agenda.add(wait_seconds, partial(self._try, callback, attempt + 1, then))
        else:
            then()

    def _headers(self, callback: Callback) -> dict[str, str]:
        headers = {"user-agent": "telnyx-sandbox", "connection": "close"}
        if callback.method == "POST":
            headers["content-type"] = "application/x-www-form-urlencoded"
        if not callback.behaviour.unsigned:
            sign = self._signer.forge if callback.behaviour.forge else self._signer.sign
            at = now() + timedelta(seconds=callback.behaviour.clock_skew_seconds)
            headers.update(sign(callback.body, at))
        return headers


def _ask(callback: Callback, headers: dict[str, str]) -> tuple[int | None, str | None]:
    """The status that the receiver answered, or what kept it from answering."""
    with requests.Session() as http:
        http.trust_env = False  # no proxies and no .netrc of whoever runs the sandbox
        try:
            response = http.request(
                callback.method,
                callback.target,
                data=callback.body or None,
                headers=headers,
                timeout=callback.behaviour.patience_seconds,
                allow_redirects=False,
                stream=True,  # the body is nobody's business, and may be endless
            )
        except requests.Timeout:
            return None, _too_late(callback)
        except requests.ConnectionError:
            return None, "connection failed"
        except (requests.RequestException, HTTPError, ValueError) as trouble:
            return None, f"cannot be asked: {type(trouble).__name__}"
        return response.status_code, None


def _too_late(callback: Callback) -> str:
    return f"no answer within {callback.behaviour.patience_seconds:g} s"


def _after(count: int, told: Told) -> Told:
    """Calls `told` when it was itself called `count` times."""
    lock = Lock()
    left = count

    def one_more() -> None:
        nonlocal left
        with lock:
            left -= 1
            is_last = left == 0
        if is_last:
            told()

    return one_more
