"""How long reads take where many sessions are stored, beside a ledger with few."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from service.domain.state import State
from tests.bench.contestants import Contestant, PinnedPostgres, running
from tests.bench.data import OLDEST, RARE, SPAN, Made
from tests.bench.feed_reads import followers
from tests.bench.figures import KINDS, POSTGRESQL
from tests.bench.ledgers import Ours
from tests.bench.machine import LOAD_CORE, on_core

REQUESTS = 20  # in a round, of each read of each ledger
MOST_SECONDS = 1.0  # that they may take, but three are made
WARM_UP = 3
DEEP = 50_000  # sessions lie before the deep page, or half of all
LARGEST_PAGE = 250
TIMEOUT_SECONDS = 60
LISTS = ("sessions", "callbacks", "events")


class WrongAnswer(Exception):
    """A read was not answered 200."""


@dataclass(frozen=True)
class Read:
    """`few` and `many` are milliseconds, round by round; `found` rows came with many."""

    kind: str
    name: str
    few: list[float]
    many: list[float]
    found: int

    @property
    def is_promised(self) -> bool:
        return self.name not in _combined()

    @property
    def times(self) -> float:
        """The median of the ratios within a round."""
        pairs = zip(self.many, self.few, strict=True)
        return statistics.median(many / few for many, few in pairs)


class Reading(Protocol):
    """Somebody who reads, each thing by its name."""

    @property
    def names(self) -> Sequence[str]: ...

    def read(self, name: str) -> tuple[int, float]:
        """How many rows it finds (1 where it shows one thing), and after how many seconds."""


class Reader:
    """One app that asks the ledger over a connection that it keeps."""

    def __init__(self, contestant: Contestant, made: Made, api_key: str) -> None:
        self._connection = http.client.HTTPConnection(*contestant.web.address, timeout=TIMEOUT_SECONDS)
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self.paths = {**_paths(made), "a deep page": self._deep_page(made), **_combined()}
        self._followers = followers(self.get, made)
        self.names = [*self.paths, *self._followers]

    def get(self, path: str) -> Any:
        try:
            answer = self._ask(path)
        except ConnectionError:  # an idle one was closed meanwhile
            self._connection.close()
            answer = self._ask(path)
        body = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise WrongAnswer(f"{answer.status} for {path}: {body[:500]!r}")
        return json.loads(body)

    def _ask(self, path: str) -> http.client.HTTPResponse:
        self._connection.request("GET", path, headers=self._headers)
        return self._connection.getresponse()

    def read(self, name: str) -> tuple[int, float]:
        answer, seconds = self._read(name)
        return next((len(rows) for key in LISTS if (rows := _list(answer, key))), 0), seconds

    def _read(self, name: str) -> tuple[Any, float]:
        """What was answered, and after how many seconds."""
        follower = self._followers.get(name)
        path = follower.path() if follower else self.paths[name]
        began = time.perf_counter()
        answer = self.get(path)
        taken = time.perf_counter() - began
        if follower:
            follower.take(answer)
        return answer, taken

    def close(self) -> None:
        self._connection.close()

    def _deep_page(self, made: Made) -> str:
        cursor = None
        for _ in range(max(1, min(DEEP, made.count // 2) // LARGEST_PAGE)):
            path = _sessions(limit=LARGEST_PAGE, **({"cursor": cursor} if cursor else {}))
            cursor = self.get(path)["next_cursor"]
        return _sessions(cursor=cursor)


def milliseconds(reading: Reading, name: str) -> float:
    """The median of a round."""
    taken = list[float]()
    give_up = time.monotonic() + MOST_SECONDS
    while len(taken) < REQUESTS and (time.monotonic() < give_up or len(taken) < WARM_UP):
        _, seconds = reading.read(name)
        taken.append(seconds * 1000)
    return statistics.median(taken)


def warm_up(reading: Reading, name: str) -> int:
    """How many rows the read finds."""
    return max(reading.read(name)[0] for _ in range(WARM_UP))


Open = Callable[[str, Made], AbstractContextManager[Reading]]  # a database's URL, and what to fill it with


def run(
    folder: Path, sessions: tuple[int, int], rounds: int, measures: Callable[[str], bool], reader: Open
) -> Iterator[Read]:
    """`sessions`: few, and many; `measures` says of a read, by its name, whether it is one to measure."""
    with PinnedPostgres() as server:
        for kind in KINDS:
            urls = [
                server.create_database() if kind == POSTGRESQL else f"sqlite:///{folder}/read-{n}.sqlite3"
                for n in sessions
            ]
            with ExitStack() as stack:
                few, many = (
                    stack.enter_context(reader(url, Made(count)))
                    for url, count in zip(urls, sessions, strict=True)
                )
                with on_core(LOAD_CORE):
                    yield from _compare(kind, few, many, rounds, measures)
            for file in folder.glob("read-*"):  # several GiB
                file.unlink()


def _compare(
    kind: str, few: Reading, many: Reading, rounds: int, measures: Callable[[str], bool]
) -> Iterator[Read]:
    for name in filter(measures, few.names):
        warm_up(few, name)
        found = warm_up(many, name)
        taken = [(milliseconds(few, name), milliseconds(many, name)) for _ in range(rounds)]
        yield Read(kind, name, [one for one, _ in taken], [other for _, other in taken], found)


@contextmanager
def app(url: str, made: Made) -> Iterator[Reader]:
    """It asks the API."""
    with (
        closing(Ours(url, 1, stored=made.count)) as ledger,
        running("ours", ledger=ledger) as contestant,
        closing(Reader(contestant, made, ledger.api_key)) as reader,
    ):
        yield reader


def _paths(made: Made) -> Mapping[str, str]:
    middle = made.count // 2 + 1  # the one before is rare
    last_day, nobody = _last(days=1), "nobody"
    return {
        "the newest": _sessions(),
        "state, usual": _sessions(state="stopped"),
        "state, of 3 %": _sessions(state="failed"),
        "state, rare": _sessions(state="accepted"),
        "state, none": _sessions(state="requested"),
        "two states": _sessions(state=["stopped", "failed"]),
        "two states, rare": _sessions(state=["accepted", "requested"]),
        "all states": _sessions(state=[*State]),
        "account, usual": _sessions(account_sid="account-1"),
        "account, rare": _sessions(account_sid=RARE),
        "account, none": _sessions(account_sid=nobody),
        "connector, usual": _sessions(connector_name="connector-1"),
        "connector, rare": _sessions(connector_name=RARE),
        "connector, none": _sessions(connector_name=nobody),
        "call": _sessions(call_sid=made.call_sid(middle)),
        "call, none": _sessions(call_sid=nobody),
        "reference": _sessions(reference=made.reference(middle)),
        "reference, none": _sessions(reference=nobody),
        "label, usual": _sessions(label="team:team-1"),
        "label, rare": _sessions(label=f"team:{RARE}"),
        "label, none": _sessions(label=f"team:{nobody}"),
        "the last day": _sessions(requested_after=last_day),
        "the first day": _sessions(requested_before=(OLDEST + timedelta(days=1)).isoformat()),
        "after all": _sessions(requested_after="2100-01-01T00:00:00Z"),
        "one session": f"/v1/sessions/{made.session_id(middle)}",
        "its callbacks": f"/v1/sessions/{made.session_id(middle)}/callbacks",
        "callbacks": "/v1/callbacks",
        "callbacks, problem=true": "/v1/callbacks?problem=true",
        "callbacks, problem=false": "/v1/callbacks?problem=false",
    }


def _combined() -> Mapping[str, str]:
    """Two filters at once: measured, but nothing is promised of them."""
    last_day, last_month = _last(days=1), _last(days=30)
    return {
        "two labels": _sessions(label=["team:team-1", "site:site-1"]),
        "the last day, by state": _sessions(requested_after=last_day, state="stopped"),
        "the last month, by a state of 3 %": _sessions(requested_after=last_month, state="failed"),
        "the last day, by a state of none": _sessions(requested_after=last_day, state="requested"),
    }


def _last(days: int) -> str:
    return (OLDEST + SPAN - timedelta(days=days)).isoformat()


def _sessions(**query: object) -> str:
    return f"/v1/sessions?{urlencode(query, doseq=True)}"


def _list(answer: Any, key: str) -> list[Any] | None:
    found = answer.get(key)
    return found if isinstance(found, list) else None
