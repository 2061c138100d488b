"""The pages, as a browser asks for them, and what a terminal shows: beside many sessions and beside few."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from html import unescape
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode, urljoin

from service.ledger import overview
from service.store.engine import Database
from tests.bench.contestants import PAGES, Contestant, running
from tests.bench.data import OLDEST, RARE, SPAN, Made
from tests.bench.page_data import CALLBACKS, Pages
from tests.bench.reads import DEEP, LARGEST_PAGE, TIMEOUT_SECONDS, WrongAnswer

COOKIE: Final = "siprec-ledger"
MOST_NAMED: Final = 10  # sessions, by `siprec-ledger status`
FIRST_BYTES: Final = 1000
OLDER: Final = re.compile(rb'rel="next" href="([^"]+)"')
FOUND: Final = (HTTPStatus.OK, HTTPStatus.SEE_OTHER, HTTPStatus.NOT_FOUND)


class Browser:
    """Somebody who is logged in, over a connection that is kept."""

    def __init__(self, contestant: Contestant, made: Made, ledger: Pages) -> None:
        self._address = contestant.web.address
        self._headers = {"Cookie": f"{COOKIE}={ledger.cookie}", "Accept": "text/html"}
        self._connection = self._connect()
        self._paths = {**_paths(made), **_searches(made, ledger), "sessions, a deep page": self._deep(made)}
        self._database = Database(ledger.url)
        self._others: Mapping[str, Callable[[], int]] = {
            "export, its first bytes": lambda: self._export({}),
            "export, a rare label": lambda: self._export({"label": f"team:{RARE}"}),
            "status": self._status,
        }
        self.names = [*self._paths, *self._others]

    def read(self, name: str) -> tuple[int, float]:
        """How many rows its tables have."""
        began = time.perf_counter()
        found = self._others[name]() if name in self._others else self._get(self._paths[name]).count(b"<tr")
        return found, time.perf_counter() - began

    def close(self) -> None:
        self._connection.close()
        self._database.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._address, timeout=TIMEOUT_SECONDS)

    def _get(self, path: str) -> bytes:
        try:
            self._connection.request("GET", path, headers=self._headers)
            answer = self._connection.getresponse()
        except ConnectionError:  # an idle one was closed meanwhile
            self._connection.close()
            return self._get(path)
        body = answer.read()
        if answer.status not in FOUND or b'name="key"' in body:
            raise WrongAnswer(f"{answer.status} for {path}: {body[:500]!r}")
        return body

    def _export(self, query: Mapping[str, str]) -> int:
        with closing(self._connect()) as connection:
            connection.request("GET", f"/sessions.csv?{urlencode(query)}", headers=self._headers)
            return connection.getresponse().read(FIRST_BYTES).count(b"\n")

    def _status(self) -> int:
        with self._database.read() as db:
            return len(overview.of(db, MOST_NAMED + 1).overdue)

    def _deep(self, made: Made) -> str:
        path = f"/sessions?limit={LARGEST_PAGE}"
        for _ in range(max(1, min(DEEP, made.count // 2) // LARGEST_PAGE)):
            path = _older(self._get(path), path)
        return path


def _older(page: bytes, path: str) -> str:
    """Where its button *Older* leads."""
    found = OLDER.search(page)
    assert found, page
    return urljoin(path, unescape(found[1].decode()))


@contextmanager
def browser(url: str, made: Made) -> Iterator[Browser]:
    """It is logged in to the pages."""
    with (
        closing(Pages(url, 1, stored=made.count)) as ledger,
        running("ours", PAGES, ledger=ledger) as contestant,
        closing(Browser(contestant, made, ledger)) as found,
    ):
        yield found


def _paths(made: Made) -> Mapping[str, str]:
    middle = made.session_id(made.count // 2 + 1)  # the one before is rare
    common, rare, nobody = "team:team-1", f"team:{RARE}", "nobody"
    return {
        "now": "/",
        "sessions": _sessions(),
        "sessions, state, usual": _sessions(state="stopped"),
        "sessions, state, of 3 %": _sessions(state="failed"),
        "sessions, state, rare": _sessions(state="accepted"),
        "sessions, state, none": _sessions(state="requested"),
        "sessions, in progress": _sessions(state=["requested", "unanswered", "accepted", "started"]),
        "sessions, account, usual": _sessions(account_sid="account-1"),
        "sessions, account, rare": _sessions(account_sid=RARE),
        "sessions, account, none": _sessions(account_sid=nobody),
        "sessions, connector, usual": _sessions(connector_name="connector-1"),
        "sessions, connector, rare": _sessions(connector_name=RARE),
        "sessions, connector, none": _sessions(connector_name=nobody),
        "sessions, call": _sessions(call_sid=made.call_sid(made.count // 2)),
        "sessions, reference": _sessions(reference=made.reference(made.count // 2)),
        "sessions, label, usual": _sessions(label=common),
        "sessions, label, rare": _sessions(label=rare),
        "sessions, label, none": _sessions(label=f"team:{nobody}"),
        "sessions, two labels, the first rare": _sessions(label=[rare, "site:site-1"]),
        "sessions, two labels, the second rare": _sessions(label=["site:site-1", rare]),
        "sessions, two labels, both usual": _sessions(label=[common, "site:site-1"]),
        "sessions, the last day": _sessions(requested_after=(OLDEST + SPAN - timedelta(days=1)).isoformat()),
        "sessions, the first day": _sessions(requested_before=(OLDEST + timedelta(days=1)).isoformat()),
        "sessions, overdue": _sessions(overdue="true"),
        "sessions, not overdue": _sessions(overdue="false"),
        "sessions, overdue, usual": _sessions(overdue="not_ended"),
        "sessions, overdue, rare": _sessions(overdue="not_started"),
        "sessions, overdue, none": _sessions(overdue="no_answer"),
        "one session": f"/sessions/{middle}",
        f"one session with {CALLBACKS} callbacks": f"/sessions/{made.session_id(made.count // 2)}",
    }


def _searches(made: Made, ledger: Pages) -> Mapping[str, str]:
    middle = made.count // 2 + 1
    wanted = {
        "session id": made.session_id(middle),
        "callback id": ledger.callback_id,
        "no id": f"ffffffff-0000-7000-8000-{datetime.now(UTC):%f}000000",
        "sid": f"5e55107e-0000-4000-9000-{middle:012d}",
        "call": made.call_sid(middle),
        "reference": made.reference(middle),
        "label": "team:team-1",
        "rare label": f"team:{RARE}",
        "nothing": "nobody",
    }
    return {f"search, {name}": f"/sessions?{urlencode({'q': text})}" for name, text in wanted.items()}


def _sessions(**query: object) -> str:
    return f"/sessions?{urlencode(query, doseq=True)}"
