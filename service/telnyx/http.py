"""A session of requests with Telnyx: a connection of its own for each, and the key that opens it."""

from __future__ import annotations

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.util.retry import Retry


def session(auth: AuthBase, retries: Retry) -> requests.Session:
    """A new one for every request, so that no connection is used twice.

    A kept one may be closed by Telnyx just as we write to it, and then nobody knows whether the request
    arrived. A fresh one costs a handshake and leaves no doubt. The header alone only asks for it.
    """
    http = requests.Session()
    http.auth = auth
    http.headers.update({"Connection": "close", "Accept": "application/json"})
    for scheme in ("http://", "https://"):
        http.mount(scheme, HTTPAdapter(max_retries=retries))
    return http


class Bearer(AuthBase):
    """Set as `auth`, not as a header, because requests lets a netrc file overrule the header."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request
