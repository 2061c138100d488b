"""One HTTP request: no redirect, no kept connection, no netrc, and of the answer no more than is wanted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import requests
from requests.auth import AuthBase


@contextmanager
def response(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: tuple[float, float]
) -> Iterator[requests.Response]:
    """The head of the answer; `timeout` is as requests has it, to connect and for each read.

    Raises RequestException, whose words hold the URL.
    """
    with (
        requests.Session() as http,
        http.request(
            method,
            url,
            data=body,
            headers={**headers, "User-Agent": "siprec-ledger", "Connection": "close"},
            auth=_NoAuth(),
            timeout=timeout,
            allow_redirects=False,
            stream=True,
        ) as found,
    ):
        yield found


def parts(of: requests.Response, most: int, seconds: float) -> Iterator[bytes]:
    """Of its body as they come: about so many bytes, for about so long. Raises HTTPError and OSError."""
    size, deadline = 0, time.monotonic() + seconds
    while size < most and time.monotonic() <= deadline:
        part = of.raw.read1(most, decode_content=True)
        if not part:
            return
        size += len(part)
        yield part


class _NoAuth(AuthBase):
    """Or requests would send what a netrc file says."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request
