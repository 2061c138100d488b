"""Somebody with a browser: keeps cookies, says where a form comes from, and sends what the form holds."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urljoin

from tests.web.indoors import Caller, Indoors, JsonResponse

ORIGIN = "https://localhost"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Visitor:
    """`client` is the test client beneath; `headers` go with every form."""

    def __init__(self, indoors: Indoors) -> None:
        self.client = Caller(indoors.app, indoors.app.response_class)
        self.headers = {"Sec-Fetch-Site": "same-origin"}

    def get(self, path: str) -> JsonResponse:
        return self.client.get(path, headers=BROWSER, base_url=ORIGIN)

    def send(self, path: str, **fields: str) -> JsonResponse:
        headers = BROWSER | self.headers
        return self.client.post(path, data=fields, headers=headers, base_url=ORIGIN)

    def log_in(self, key: str, **fields: str) -> JsonResponse:
        return self.send("/log-in", token=token(self.get("/log-in")), key=key, **fields)

    def cookies(self) -> dict[str, str]:
        return {name: one.value for (_, _, name), one in (self.client._cookies or {}).items()}


def token(answer: JsonResponse) -> str:
    """Of a form on the page."""
    found = re.search(r'name="token" value="([^"]+)"', answer.text)
    assert found, answer.text
    return unescape(found[1])


def leads_to(answer: JsonResponse, path: str) -> str:
    """Where a redirect that was answered at `path` leads."""
    assert answer.status_code == 303, (answer.status_code, answer.text)
    return urljoin(path, answer.headers["Location"])
