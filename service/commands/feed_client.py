"""The feed, as an app reads it: over HTTP, with an API key.

By the standard library, because only `telnyx` makes requests of its own to others.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

WAIT_SECONDS: Final = 20  # the longest that the service takes
TIMEOUT_SECONDS: Final = 30  # for one answer, of which the service waits some
LIMIT: Final = 250
LONGEST_RETRY_SECONDS: Final = 60
PASSING: Final = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}  # and all from 500 on


@dataclass(frozen=True)
class Page:
    events: Sequence[Mapping[str, Any]]  # CloudEvents
    next: str  # the cursor after them


class Interrupted(Exception):
    """No page now; one may come if it is asked for again, in `seconds` if the service named them."""

    def __init__(self, why: str, seconds: int = 0) -> None:
        super().__init__(why)
        self.seconds = seconds


class Refused(Exception):
    """No page, however often it is asked for. `status` is HTTP's, or 0 where no ledger answered."""

    def __init__(self, why: str, status: int = 0) -> None:
        super().__init__(why)
        self.status = status


class _NoRedirects(HTTPRedirectHandler):
    """Whoever it leads to would be sent the key."""

    def redirect_request(self, *_: object) -> None:
        return None


class FeedClient:
    """`filters` are parameters of listEvents."""

    def __init__(self, url: str, key: str, filters: Sequence[tuple[str, str]]) -> None:
        self._url = f"{url.rstrip('/')}/v1/events"
        self._headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        self._filters = filters
        self._opener = build_opener(_NoRedirects)

    def page(self, after: str, wait: int) -> Page:
        """What follows that place, for which it waits so many seconds. Raises Interrupted and Refused."""
        query = urlencode([("after", after), ("limit", LIMIT), ("wait", wait), *self._filters])
        request = Request(f"{self._url}?{query}", headers=self._headers)  # noqa: S310 (the caller has seen to it)
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return _page(answer.read())
        except HTTPError as error:
            with error:
                raise _no_page(error) from None
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise Refused(f"{self._url} is not trusted: {reason}") from error
            raise Interrupted(f"{self._url} did not answer: {reason or type(reason).__name__}") from error


def _page(body: bytes) -> Page:
    try:
        document = json.loads(body)
        return Page(document["events"], document["next"])
    except (ValueError, TypeError, KeyError) as error:
        raise Refused("what answers there is no siprec-ledger: it sent no page of events") from error


def _no_page(error: HTTPError) -> Interrupted | Refused:
    status, why = error.code, f"{error.code} {_problem(error)}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in PASSING:
        named = error.headers.get("Retry-After", "")
        seconds = int(named) if named.isascii() and named.isdigit() else 0
        return Interrupted(why, min(seconds, LONGEST_RETRY_SECONDS))
    return Refused(why, status)


def _problem(error: HTTPError) -> str:
    """In words, as far as it is one of ours."""
    try:
        told = json.loads(error.read())
        fields = [f"{one['pointer']}: {one['detail']}" for one in told.get("errors", [])]
        return ": ".join(filter(None, [told["title"], told.get("detail"), "; ".join(fields)]))
    except (OSError, HTTPException, ValueError, TypeError, KeyError, AttributeError):
        return str(error.reason)
