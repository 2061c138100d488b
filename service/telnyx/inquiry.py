"""What is asked of Telnyx to see whether it would serve us: nothing that starts, changes or costs anything.

Source: developers.telnyx.com, GET /siprec_connectors/{name} and GET /texml/Accounts/{account_sid}/Calls/…
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote

import requests
from urllib3.exceptions import HTTPError
from urllib3.util.retry import Retry

from service import http_once
from service.telnyx.http import Bearer, session

NOBODY: Final = "siprec-ledger-doctor"  # neither a connector nor a call is expected to have this name
LARGEST_ANSWER: Final = 64 * 1024  # bytes
ONCE: Final = Retry(total=0, read=False)


@dataclass(frozen=True)
class Reply:
    """`date` is Telnyx's clock, whole seconds, when it answered; `sent` and `received` are monotonic."""

    status: int
    document: Any
    date: datetime | None
    sent: float
    received: float


class NoReply(Exception):
    """Says why."""


class Inquiry:
    """`seconds` is how long one answer is waited for."""

    def __init__(self, base_url: str, seconds: float) -> None:
        self._base_url = base_url
        self._seconds = seconds

    def try_key(self, api_key: str, account_sid: str | None = None) -> Reply:
        """404 is what a key that counts gets; 401 or 403, one that does not. Raises NoReply."""
        if account_sid is None:
            return self.connector(api_key, NOBODY)
        return self._get(api_key, "texml", "Accounts", account_sid, "Calls", NOBODY)

    def connector(self, api_key: str, name: str) -> Reply:
        """Raises NoReply."""
        return self._get(api_key, "siprec_connectors", name)

    def _get(self, api_key: str, *path: str) -> Reply:
        url = "/".join([self._base_url, *(quote(part, safe=":") for part in path)])
        timeout = (min(3.05, self._seconds), self._seconds)
        try:
            with session(Bearer(api_key), ONCE) as http:
                sent = time.monotonic()
                with http.get(url, timeout=timeout, allow_redirects=False, stream=True) as response:
                    received = time.monotonic()
                    document = _document(b"".join(http_once.parts(response, LARGEST_ANSWER, self._seconds)))
                    return Reply(response.status_code, document, _date(response), sent, received)
        except (requests.RequestException, HTTPError) as error:  # its words may hold the URL
            raise NoReply(f"Telnyx does not answer ({type(error).__name__})") from error


def _document(body: bytes) -> Any:
    """None if it is no JSON, or not all of it."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _date(response: requests.Response) -> datetime | None:
    try:
        found = parsedate_to_datetime(response.headers["Date"])
    except (KeyError, ValueError, TypeError):
        return None
    return found if found.tzinfo else None
