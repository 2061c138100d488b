"""Asks PUBLIC_URL as somebody from outside would, and says what came back or why nothing did."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import requests
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError

from service import http_once

CONNECT_SECONDS: Final = 3.05
LARGEST_ANSWER: Final = 64 * 1024  # bytes that are read of it


@dataclass(frozen=True)
class Reply:
    """Seconds are since the request began: until the answer's head, its body's first byte, and its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    first_seconds: float
    seconds: float


class NoReply(Exception):
    """Says why, without the URL. `seconds` is how long that took."""

    def __init__(self, why: str, seconds: float, *, is_broken: bool = False) -> None:
        super().__init__(why)
        self.seconds = seconds
        self.is_broken = is_broken  # the connection, after it was there


def post(url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Reply:
    """Raises NoReply."""
    return _ask("POST", url, headers, body, seconds)


def get(url: str, seconds: float) -> Reply:
    """Raises NoReply."""
    return _ask("GET", url, {}, None, seconds)


def _ask(method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float) -> Reply:
    """Redirects are not followed. `seconds` is for the head of the answer, and as much again for its body."""
    began = time.monotonic()
    try:
        with http_once.response(
            method, url, headers, body, (min(CONNECT_SECONDS, seconds), seconds)
        ) as response:
            return _read(response, began, seconds)
    except (requests.RequestException, HTTPError, OSError) as error:
        why, is_broken = _why(error, seconds)
        raise NoReply(why, time.monotonic() - began, is_broken=is_broken) from error


def _read(response: requests.Response, began: float, seconds: float) -> Reply:
    content, first_at = bytearray(), None
    for part in http_once.parts(response, LARGEST_ANSWER, seconds):
        first_at = first_at or time.monotonic()
        content += part
    ended = time.monotonic()
    first_seconds = (first_at or ended) - began
    return Reply(response.status_code, response.headers, bytes(content), first_seconds, ended - began)


def _why(error: Exception, seconds: float) -> tuple[str, bool]:
    """In words, and whether there was a connection that broke."""
    cause = getattr(error.args[0], "reason", error.args[0]) if error.args else error
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted, or there is no TLS", False
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {min(CONNECT_SECONDS, seconds):.0f} s", False
    if isinstance(error, requests.Timeout):
        return f"no answer within {seconds:.0f} s", False
    if isinstance(cause, NameResolutionError):
        return "its name is not found", False
    if isinstance(cause, NewConnectionError):
        return "nothing takes connections there", False
    return "the connection broke before an answer", True
