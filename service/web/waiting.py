"""Readers that wait for what is not there yet: on the event loop, without a thread or a connection.

A view that has nothing to answer says what it waits for, by `for_session` or `for_events`, and is left there.
`flask_bridge` calls it anew once that is there, or when its time is over; each time it looks as for the first
time, and the key is checked. Up to which position it has looked it says too, so that nothing is missed that
was numbered between its look and its wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from flask import Flask, request

from service.domain.state import State
from service.store.events import EventKind
from service.store.numbered import Numbered
from service.web.pace import ClientLeft, TooManyWait

GATHER_SECONDS: Final = 0.5  # who reads much is woken once in so long, and gets together what came meanwhile
MOST_RECENT: Final = 2000  # events that are remembered for those who are about to wait

Topic = tuple[str, str]
EVERYTHING: Final[Topic] = ("everything", "")
MAY_WAIT: Final = "service.may_wait"  # in the environment of a request: whether its view may wait
WAIT: Final = "service.wait"  # what it waits for
NOTE: Final = "service.note"  # what it left for its next call
TOLD: Final = "service.told"  # up to which position it was known what there is, when it was woken


@dataclass(frozen=True)
class Wait:
    """For an event of any of the topics behind the position `after`; for `seconds` since the first call.

    `has_news`: for its turn to get what there is already.
    """

    topics: frozenset[Topic]
    after: int
    seconds: float
    gathers: bool = False
    has_news: bool = False
    note: Any = None


class Waits(Exception):
    """Leaves a view, whose transaction it ends."""

    def __init__(self, wait: Wait) -> None:
        super().__init__()
        self.wait = wait


# For views


def for_session(session_id: str, states: Iterable[State], after: int, seconds: float) -> None:
    """Wait until this session is in one of these states, or merged into another.

    By an event behind the position `after`, the last that the view could see. Returns where there is no
    time to wait: then the view answers with what it has.
    """
    topics = {("in state", f"{session_id} {state}") for state in states}
    _wait(Wait(frozenset({*topics, ("merged", session_id)}), after, seconds))


def for_events(
    after: int,
    seconds: float,
    note: object,
    *,
    session_id: str | None = None,
    connector_name: str | None = None,
    accounts: Iterable[str] | None = None,
) -> None:
    """Wait for an event behind the position `after`, up to which the view has found nothing.

    Of this session, or of this connector, or of any of these accounts, or for any at all: the first that is
    given, so the view may be called for some that it does not want. `note` is what `noted` gives it then.
    Returns as `for_session` does.
    """
    if session_id is not None:
        topics = {("session", session_id)}
    elif connector_name is not None:
        topics = {("connector", connector_name)}
    else:
        topics = {EVERYTHING} if accounts is None else {("account", one) for one in accounts}
    _wait(Wait(frozenset(topics), after, seconds, gathers=True, note=note))


def for_more(after: int, note: object) -> None:
    """Wait for what comes besides what the view has found already, until those who gather are woken next.

    Returns as `for_session` does.
    """
    _wait(Wait(frozenset(), after, GATHER_SECONDS, gathers=True, has_news=True, note=note))


def noted() -> Any:
    """What the view left for itself when it waited; None where it did not wait."""
    return request.environ.get(NOTE)


def told() -> int | None:
    """The position up to which to look, the same for all who were woken together; None: to the end."""
    found: int | None = request.environ.get(TOLD)
    return found


def is_woken() -> bool:
    """The view is called again for a request that was let in before."""
    return TOLD in request.environ


def _wait(wait: Wait) -> None:
    if request.environ.get(MAY_WAIT) and wait.seconds > 0:
        raise Waits(wait)


def install(app: Flask) -> None:
    @app.errorhandler(Waits)
    def leave(waits: Waits) -> tuple[str, int]:
        """Nobody sees this answer."""
        request.environ[WAIT] = waits.wait
        return "", 204


# For the event loop


@dataclass(eq=False)
class _Reader:
    wait: Wait
    woken: asyncio.Future[int | None]

    def wake(self, position: int | None) -> None:
        if not self.woken.done():
            self.woken.set_result(position)


class WaitingReaders:
    """Made on the event loop that serves; only `position` and `tell` are for another thread too.

    Whom an event concerns is looked up by its topics, whoever else waits. Those who gather are woken
    together: at once, if they were not within the last GATHER_SECONDS.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._readers: set[_Reader] = set()
        self._by_topic: dict[Topic, set[_Reader]] = {}
        self._recent: deque[Numbered] = deque(maxlen=MOST_RECENT)  # the last of them at `position`
        self._gathering: set[_Reader] = set()
        self._gathered_at = -GATHER_SECONDS  # monotonic; when they were woken last
        self._is_ending = False
        self.position: int | None = None

    async def wait(
        self,
        wanted: Wait,
        until: float,
        leave: Callable[[], Awaitable[object]],
        ended: asyncio.Future[None],
    ) -> tuple[bool, int | None]:
        """Until there may be what is wanted. Whether it may wait again, and what `told` gives to its view.

        If not, the time is over (monotonic), or the process ends, or `ended` is done: its client sends no
        more. Raises TooManyWait, and ClientLeft if `leave` returns before.
        """
        seconds = until - time.monotonic()
        if self._must_answer(ended) or seconds <= 0:
            return False, None
        if len(self._readers) >= self._most:
            raise TooManyWait
        reader = _Reader(wanted, self._loop.create_future())
        left: asyncio.Future[Any] = asyncio.ensure_future(leave())
        self._enter(reader)
        try:
            signs = {reader.woken, left, ended}
            await asyncio.wait(signs, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if left.done():
                raise ClientLeft
            if not reader.woken.done():
                return False, None
            return not self._must_answer(ended), reader.woken.result()
        finally:
            left.cancel()
            self._forget(reader)

    def tell(self, after: int, events: Sequence[Numbered], last: int) -> None:
        """As the tail says it. Any thread may."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._take, after, events, last)

    def end(self) -> None:
        """Whoever waits, or is about to, is to be answered now."""
        self._is_ending = True
        self._wake(self._readers)

    def _must_answer(self, ended: asyncio.Future[None]) -> bool:
        return self._is_ending or ended.done()

    def _enter(self, reader: _Reader) -> None:
        if self.position is None:
            self.position = reader.wait.after
        self._readers.add(reader)
        for topic in reader.wait.topics:
            self._by_topic.setdefault(topic, set()).add(reader)
        if reader.wait.has_news or self._has_missed(reader.wait):
            self._found(reader)

    def _forget(self, reader: _Reader) -> None:
        self._readers.discard(reader)
        self._gathering.discard(reader)
        for topic in reader.wait.topics:
            waiting = self._by_topic[topic]
            waiting.discard(reader)
            if not waiting:
                del self._by_topic[topic]
        if not self._readers:
            self.position = None
            self._recent.clear()

    def _has_missed(self, wait: Wait) -> bool:
        """Or may have: then it looks again."""
        assert self.position is not None
        if wait.after >= self.position:
            return False
        if not self._recent or wait.after < self._recent[0].position - 1:
            return True
        missed = takewhile(lambda event: event.position > wait.after, reversed(self._recent))
        return any(not wait.topics.isdisjoint(_topics(event)) for event in missed)

    def _take(self, after: int, events: Sequence[Numbered], last: int) -> None:
        if after != self.position:  # all have left since, so that is none of their business; or it was told
            return
        self.position = last
        if last < after:  # put back to an earlier state: all have to look where they are
            self._recent.clear()
            self._wake(self._readers)
        self._recent.extend(events)
        latest = {topic: event.position for event in events for topic in _topics(event)}
        for topic, position in latest.items():
            for reader in self._by_topic.get(topic, ()):
                if position > reader.wait.after:
                    self._found(reader)

    def _found(self, reader: _Reader) -> None:
        if not reader.wait.gathers:
            reader.wake(self.position)
            return
        if not self._gathering:
            seconds = self._gathered_at + GATHER_SECONDS - time.monotonic()
            self._loop.call_later(max(0.0, seconds), self._wake_gathering)
        self._gathering.add(reader)

    def _wake_gathering(self) -> None:
        self._gathered_at = time.monotonic()
        gathered, self._gathering = self._gathering, set()
        self._wake(gathered)

    def _wake(self, readers: Iterable[_Reader]) -> None:
        for reader in readers:
            reader.wake(self.position)


def _topics(event: Numbered) -> list[Topic]:
    session_id = event.session_id
    named = {"session": session_id, "account": event.account_sid, "connector": event.connector_name}
    if session_id is not None:
        named["in state"] = f"{session_id} {event.state}"
        if event.kind == EventKind.MERGED:
            named["merged"] = session_id
    return [EVERYTHING, *((name, value) for name, value in named.items() if value is not None)]
