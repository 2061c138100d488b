"""The feed as it is read over HTTP: page after page, and on by itself after an interruption."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

WAIT_SECONDS: Final = 20  # for an event, at most; the API allows no more
TIMEOUT_SECONDS: Final = WAIT_SECONDS + 15
LIMIT: Final = 500
FIRST_PAUSE_SECONDS: Final = 0.25  # before it asks again; doubled each time, up to
LONGEST_PAUSE_SECONDS: Final = 10.0
LONGEST_RETRY_SECONDS: Final = 60.0  # whatever Retry-After says
POLL_SECONDS: Final = 1.0  # where nobody lets us wait
PASSING: Final = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}  # and all of 5xx

Event = Mapping[str, Any]


class Refused(Exception):
    """To ask again would not help. `status` is None where nothing of HTTP was answered."""

    def __init__(self, status: int | None, why: str) -> None:
        super().__init__(why if status is None else f"{status} {why}")
        self.status = status


class _Interrupted(Exception):
    """Asked again, it may go on; `seconds` is how long the service wants us to wait."""

    def __init__(self, why: str, seconds: float | None = None) -> None:
        super().__init__(why)
        self.seconds = seconds


class FeedReader:
    """`url` is the service's, with or without a path; `filters` are fields of the query.

    `tell` is told when it is interrupted, and when it goes on.
    """

    def __init__(
        self, url: str, key: str, filters: Sequence[tuple[str, str]], tell: Callable[[str], None]
    ) -> None:
        self._url = urlsplit(url)
        self._path = f"{self._url.path.rstrip('/')}/v1/events"
        self._headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        self._filters = list(filters)
        self._tell = tell

    def events(self, after: str) -> Iterator[Event]:
        """Each once, in their order, for ever. Raises Refused."""
        # Without waiting: while it waits for something after `now`, an interruption would move that on.
        page = self._page(after, 0)
        while True:
            yield from page["events"]
            after, began = page["next"], time.monotonic()
            page = self._page(after, WAIT_SECONDS)
            if not page["events"] and page["next"] == after:
                time.sleep(max(0.0, began + POLL_SECONDS - time.monotonic()))

    def _page(self, after: str, wait: int) -> Any:
        pause, is_interrupted = FIRST_PAUSE_SECONDS, False
        while True:
            try:
                page = self._ask(after, wait)
            except _Interrupted as error:
                if not is_interrupted:
                    self._tell(f"interrupted: {error}; trying again")
                is_interrupted = True
                time.sleep(pause if error.seconds is None else min(error.seconds, LONGEST_RETRY_SECONDS))
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                if is_interrupted:
                    self._tell("going on")
                return page

    def _ask(self, after: str, wait: int) -> Any:
        query = urlencode([("after", after), ("limit", LIMIT), ("wait", wait), *self._filters])
        try:
            with closing(self._connection()) as connection:
                connection.request("GET", f"{self._path}?{query}", headers=self._headers)
                answer = connection.getresponse()
                body = answer.read()
        except ssl.SSLCertVerificationError as error:
            raise Refused(None, f"{self._url.netloc} is not trusted: {error.verify_message}") from error
        except (OSError, HTTPException) as error:
            raise _Interrupted(str(error) or type(error).__name__) from error
        if answer.status in PASSING or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _Interrupted(_why(answer, body), _retry_after(answer))
        if answer.status != HTTPStatus.OK:
            raise Refused(answer.status, _why(answer, body))
        page = _read(body)
        if "events" not in page or "next" not in page:
            raise Refused(answer.status, f"but what answers at {self._path} is no ledger")
        return page

    def _connection(self) -> HTTPConnection:
        # Neither follows a redirect, which would hand the key to another.
        kind = HTTPSConnection if self._url.scheme == "https" else HTTPConnection
        assert self._url.hostname is not None
        return kind(self._url.hostname, self._url.port, timeout=TIMEOUT_SECONDS)


def _read(body: bytes) -> Mapping[str, Any]:
    """Empty if it is no JSON object."""
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _why(answer: HTTPResponse, body: bytes) -> str:
    problem = _read(body)
    wrong = [f"{one['pointer'].removeprefix('/')}: {one['detail']}" for one in problem.get("errors", ())]
    words = [problem.get("title", answer.reason), problem.get("detail"), *wrong]
    return ": ".join(str(word) for word in words if word)


def _retry_after(answer: HTTPResponse) -> float | None:
    text = answer.getheader("Retry-After", "")
    return float(text) if text.isdecimal() else None
