"""Those who wait, on the event loop: whom an event concerns, and who is woken when."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from service.store.events import EventKind
from service.store.numbered import Numbered
from service.web.pace import ClientLeft, TooManyWait
from service.web.waiting import EVERYTHING, GATHER_SECONDS, Topic, Wait, Woken

MOST_RECENT: Final = 2000  # events that are remembered for those who are about to wait


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

    def __init__(self, most: int, keys_changed: Callable[[], object] = lambda: None) -> None:
        """`keys_changed` is called before anybody is woken, where something may have been done with keys."""
        self._most = most
        self._keys_changed = keys_changed
        self._loop = asyncio.get_running_loop()
        self._readers: set[_Reader] = set()
        self._by_topic: dict[Topic, set[_Reader]] = {}
        self._recent: deque[Numbered] = deque(maxlen=MOST_RECENT)  # the last of them at `position`
        self._gathering: set[_Reader] = set()
        self._gathered_at = -GATHER_SECONDS  # monotonic; when they were woken last
        self._is_ending = False
        self.position: int | None = None

    @property
    def count(self) -> int:
        """How many wait; any thread may ask."""
        return len(self._readers)

    async def wait(
        self,
        wanted: Wait,
        until: float,
        leave: Callable[[], Awaitable[object]],
        ended: asyncio.Future[None],
    ) -> Woken:
        """Until there may be what is wanted.

        Or the time is over (monotonic), or the process ends, or `ended` is done, because its client sends no
        more: then it may not wait again. Raises TooManyWait, and ClientLeft if `leave` returns before.
        """
        seconds = until - time.monotonic()
        if self._must_answer(ended) or seconds <= 0:
            return Woken(may_wait=False)
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
                return Woken(may_wait=False)
            return Woken(not self._must_answer(ended), reader.woken.result())
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
        if last < after or any(event.session_id is None for event in events):
            self._keys_changed()
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
