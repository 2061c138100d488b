"""Sends messages about alerts, and the heartbeat that somebody else watches."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Final

import requests
from standardwebhooks.webhooks import Webhook
from urllib3.exceptions import HTTPError

from service import http_once
from service.webhooks.message import FORMATS, Message

CONNECT_SECONDS: Final = 3.05
READ_SECONDS: Final = 5.0  # for the head of the answer, and as much again for its body
LONGEST_SEND: Final = CONNECT_SECONDS + 3 * READ_SECONDS
MOST_LEFT: Final = 4  # requests that never came to an end, each with its thread
LARGEST_ANSWER: Final = 2_000  # bytes that are read of it
SHOWN: Final = 200  # characters


@dataclass(frozen=True)
class Outcome:
    """`text` says what came back; it shows neither the URL, which may hold a secret, nor the secret."""

    is_taken: bool
    text: str


class Receiver:
    """Who is told of alerts. Safe to share between threads; never raises for what the receiver does.

    `secret` (whsec_…) signs each message, as standardwebhooks.com says. Without it nothing is signed.
    """

    def __init__(self, url: str, form: str, secret: str | None, clock: Callable[[], datetime]) -> None:
        self._url = url
        self._format = FORMATS[form]
        self._webhook = None if secret is None else Webhook(secret)
        self._clock = clock

    def send(self, message: Message) -> Outcome:
        """Once. Only 2xx is taken; a redirect is not followed."""
        body = json.dumps(self._format(message), ensure_ascii=False)
        return _ask("POST", self._url, body.encode(), self._headers(message.id, body))

    def _headers(self, message_id: str, body: str) -> dict[str, str]:
        now = self._clock()
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if self._webhook is not None:
            headers["webhook-signature"] = self._webhook.sign(message_id, now, body)
        return headers


def beat(url: str) -> Outcome:
    """Tell whoever watches that all is well."""
    return _ask("GET", url, None, {})


_left = threading.BoundedSemaphore(MOST_LEFT)


def _ask(method: str, url: str, body: bytes | None, headers: dict[str, str]) -> Outcome:
    """In LONGEST_SEND at most: who sends the head of an answer byte by byte is left to it.

    The limits of `requests` are for each of the reads.
    """
    if not _left.acquire(blocking=False):
        return Outcome(is_taken=False, text=f"{MOST_LEFT} earlier requests have not come to an end")
    found: SimpleQueue[Outcome] = SimpleQueue()

    def ask() -> None:
        try:
            found.put(_answer(method, url, body, headers))
        finally:
            _left.release()

    threading.Thread(target=ask, name="webhook", daemon=True).start()
    try:
        return found.get(timeout=LONGEST_SEND)
    except Empty:
        return Outcome(is_taken=False, text="its answer did not come to an end")


def _answer(method: str, url: str, body: bytes | None, headers: dict[str, str]) -> Outcome:
    try:
        with http_once.response(method, url, headers, body, (CONNECT_SECONDS, READ_SECONDS)) as response:
            text = f"{response.status_code} {_shown(response)}".strip()
            return Outcome(200 <= response.status_code < 300, text)
    except requests.RequestException as error:  # its words hold the URL
        return Outcome(is_taken=False, text=type(error).__name__)


def _shown(response: requests.Response) -> str:
    """The beginning of the answer, on one line; nothing of it if it is too long in coming."""
    try:
        body = b"".join(http_once.parts(response, LARGEST_ANSWER, READ_SECONDS))
    except (HTTPError, OSError):
        return ""
    text = body.decode("utf-8", "replace")[:SHOWN]
    return "".join(one if one.isprintable() else " " for one in text)
