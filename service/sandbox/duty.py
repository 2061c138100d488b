"""Somebody on duty, who logs in to the ledger's page by a link and reads what Now says."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import Self
from urllib.parse import urlsplit

import requests

TIMEOUT_SECONDS = 10
WELL = "All is well."
BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
TAG = re.compile(r"<[^>]*>")
TOKEN = re.compile(r'name="token" value="([^"]+)"')
VERDICT = re.compile(r'<h1 id="verdict">(.*?)</h1>', re.DOTALL)
REASON = re.compile(r'<span class="side">Side: ([^<]+)</span>(.*?)<a ', re.DOTALL)
OVERDUE = re.compile(r'<tr id="overdue-([^"]+)">(.*?)</tr>', re.DOTALL)
NUMBERS = re.compile(r"<b>([\d,]+)</b> answered 200</span><span><b>([\d,]+)</b> shown")


class PageFailed(Exception):
    """The page was not shown, or does not say what it should."""


@dataclass(frozen=True)
class Seen:
    """What Now said: one line, whose side, what to do; each overdue session by its id; two numbers."""

    verdict: str
    side: str
    what_to_do: str
    overdue: Mapping[str, str]
    answered: int
    shown: int

    @property
    def is_well(self) -> bool:
        return self.verdict == WELL

    @property
    def words(self) -> str:
        return self.verdict if self.is_well else f"{self.verdict} Side: {self.side}. {self.what_to_do}"


class OnDuty:
    def __init__(self, link: str) -> None:
        """Raises PageFailed."""
        parts = urlsplit(link)
        self._url = f"{parts.scheme}://{parts.netloc}"
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.headers.update(BROWSER)
        token = _found(TOKEN, self._ask("GET", link), "the link's page has no form")
        self._ask("POST", link, {"token": token})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def look(self) -> Seen:
        """Raises PageFailed."""
        page = self._ask("GET", f"{self._url}/")
        reason = REASON.search(page)
        numbers = NUMBERS.search(page)
        if numbers is None:
            raise PageFailed("the page Now does not show the two numbers")
        answered, shown = (int(number.replace(",", "")) for number in numbers.groups())
        return Seen(
            verdict=_plain(_found(VERDICT, page, "the page Now has no verdict")),
            side=reason[1] if reason else "",
            what_to_do=_plain(reason[2]) if reason else "",
            overdue={id: _plain(row) for id, row in OVERDUE.findall(page)},
            answered=answered,
            shown=shown,
        )

    def read(self, path: str) -> str:
        """Another page, as text. Raises PageFailed."""
        return _plain(self._ask("GET", self._url + path))

    def _ask(self, method: str, url: str, form: Mapping[str, str] | None = None) -> str:
        try:
            answer = self._http.request(method, url, data=form, timeout=TIMEOUT_SECONDS)
        except requests.RequestException as error:
            raise PageFailed(f"the page was not answered: {type(error).__name__}") from error
        if not answer.ok:
            raise PageFailed(f"the page was answered {answer.status_code}")
        return answer.text


def _found(pattern: re.Pattern[str], page: str, otherwise: str) -> str:
    found = pattern.search(page)
    if found is None:
        raise PageFailed(otherwise)
    return unescape(found[1])


def _plain(html: str) -> str:
    return " ".join(unescape(TAG.sub(" ", html)).split())
