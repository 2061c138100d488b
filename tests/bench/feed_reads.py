"""Pages of the feed, each time other ones: what a process has shown lately it does not read again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from tests.bench.data import OLDEST, RARE, Made

LIMIT = 100  # events; a page has so many unless it is asked for another number
LAST = 200  # sessions: a page before the end
NAME = "feed"  # how the names of these reads begin


class Follower:
    """Asks for page after page, and goes back to where it began when one is not full."""

    def __init__(self, after: str, **wanted: str) -> None:
        self._wanted = wanted
        self._first = self._after = after

    def path(self) -> str:
        return _events(after=self._after, **self._wanted)

    def take(self, answer: Any) -> None:
        self._after = answer["next"] if len(answer["events"]) == LIMIT else self._first


class OfSessions:
    """Asks for the events of one session after the other."""

    def __init__(self, ids: Iterator[str], after: str = "start") -> None:
        self._ids = ids
        self._after = after

    def path(self) -> str:
        return _events(after=self._after, session_id=next(self._ids))

    def take(self, answer: Any) -> None:
        pass


def followers(get: Callable[[str], Any], made: Made) -> Mapping[str, Follower | OfSessions]:
    """`get` answers a path. Filters begin in the middle: half of all events are behind it."""
    middle = get(_events(after=_asked(made, made.count // 2), limit="1"))["next"]
    found: dict[str, Follower | OfSessions] = {
        "from the start": Follower("start"),
        "from the middle": Follower(middle),
        "from a time": OfTimes(made),
        "before the end": Follower(get(_events(after=_asked(made, made.count - LAST), limit="1"))["next"]),
        "at the end": Follower(get(_events(after="now"))["next"]),
        "account, usual": Follower(middle, account_sid="account-1"),
        "account, rare": Follower(middle, account_sid=RARE),
        "account, none": Follower(middle, account_sid="nobody"),
        "connector, usual": Follower(middle, connector_name="connector-1"),
        "connector, rare": Follower(middle, connector_name=RARE),
        "connector, none": Follower(middle, connector_name="nobody"),
        "type, usual": Follower(middle, type="siprec.session.changed"),
        "type, none": Follower(middle, type="siprec.key.created"),
        "one session": OfSessions(_ids(made)),
        "one session, from the middle": OfSessions(_ids(made, made.count // 2), middle),
    }
    return {f"{NAME}, {name}": follower for name, follower in found.items()}


class OfTimes(Follower):
    """Asks for what came after one time and another."""

    def __init__(self, made: Made) -> None:
        super().__init__("")
        self._times = (_asked(made, number) for number in itertools.cycle(_spread(made)))

    def path(self) -> str:
        self._after = next(self._times)
        return super().path()


def _spread(made: Made, first: int = 0) -> range:
    """Sessions from all over the ledger, from this one on."""
    return range(first, made.count, max(1, made.count // 97))


def _ids(made: Made, first: int = 0) -> Iterator[str]:
    return (made.session_id(number) for number in itertools.cycle(_spread(made, first)))


def _asked(made: Made, number: int) -> str:
    """When this session was asked for."""
    return (OLDEST + timedelta(microseconds=made.requested(max(0, number)))).isoformat()


def _events(**query: str) -> str:
    return f"/v1/events?{urlencode(query)}"
