"""Callbacks come first: what others get of a process that is busy with them."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from flask import request

T = TypeVar("T")

SHARE: Final = 0.06  # of the time, while callbacks wait
LOOK_SECONDS: Final = 0.005  # how often it is counted what was computed
IDLE_SECONDS: Final = 0.1  # who computes nothing for so long waits for the database, and lets others begin
LONGEST_DEBT: Final = 10.0  # seconds
LONGEST_REST: Final = 2.0  # seconds; it may have waited for a lock
# In the environment of a request that reads:
DEBT: Final = "service.debt"  # `ReadPace.has_debt`
TURN: Final = "service.turn"  # its Turn

REJECTIONS: Final = 100  # a second that are answered at once
LONGEST_DELAY: Final = 1.0  # seconds


class TooManyWait(Exception):
    """For their turn to read; nobody else may."""


class ClientLeft(Exception):
    """Before its turn came."""


class Turn:
    """Of one request that reads: counts what it computes."""

    def __init__(self) -> None:
        self.admitted_at: float | None = None  # monotonic
        self.computed_at = 0.0  # likewise; when it was last seen to, or admitted
        self.asks_much = False  # of the database
        self._counted = 0.0  # of the CPU time of its thread
        self._clock: int | None = None  # of that time
        self._ended_at: float | None = None  # on it

    def run(self, do: Callable[..., T], *arguments: Any) -> T:
        """In the thread that is to do it."""
        self._counted = time.thread_time()
        if (
            sys.platform == "linux"
        ):  # elsewhere a thread's clock is only its own, and it is counted at the end
            self._clock = time.pthread_getcpuclockid(threading.get_ident())
        try:
            return do(*arguments)
        finally:
            self._ended_at = time.thread_time()

    def computed(self) -> float:
        """CPU seconds since this was last asked. Any thread may, but only one."""
        if self._ended_at is not None:
            now = self._ended_at
        elif self._clock is not None:
            now = time.clock_gettime(self._clock)
        else:
            return 0.0
        seconds, self._counted = now - self._counted, now
        return seconds


class ReadPace:
    """While callbacks wait, requests read one after the other, and compute for SHARE of the time.

    Threads that compute take turns of the interpreter with the event loop and the writer, and there may be
    many of them: without this, eight that list sessions leave callbacks a third. Nobody is interrupted; who
    computes for longer is paid for by those who come after, who wait for that LONGEST_DEBT at most. Waiting
    for the database is not computing: after IDLE_SECONDS of it the next may begin. Of a report it counts,
    beside many callbacks: they wait for the database too. Where no callback waits, all may, those that waited
    one each LOOK_SECONDS. On the event loop, so that who waits holds no thread.
    """

    def __init__(
        self, callbacks_wait: Callable[[], bool], many_wait: Callable[[], bool], most_waiting: int
    ) -> None:
        self._callbacks_wait = callbacks_wait
        self._many_wait = many_wait
        self._most_waiting = most_waiting
        self._waiting: dict[Turn, asyncio.Future[None]] = {}  # in the order in which they came
        self._running: set[Turn] = set()
        self._free_at = 0.0  # monotonic; when what was computed so far is paid for
        self._is_looking = False

    def has_debt(self) -> bool:
        """Whether callbacks wait, and what was computed is not paid for. Any thread may ask."""
        return self._callbacks_wait() and time.monotonic() < self._free_at

    @asynccontextmanager
    async def turn(self, leave: Callable[[], Awaitable[object]]) -> AsyncIterator[Turn]:
        """Wait for one's turn, unless `leave` returns before. Raises TooManyWait, ClientLeft."""
        turn = Turn()
        try:
            if self._waiting or not self._is_free():
                await self._wait(turn, leave)
            else:
                self._begin(turn)
            yield turn
        finally:
            self._waiting.pop(turn, None)
            self._running.discard(turn)
            self._count(turn)
            self._rest_after(turn)
            self._admit()

    async def _wait(self, turn: Turn, leave: Callable[[], Awaitable[object]]) -> None:
        if len(self._waiting) >= self._most_waiting:
            raise TooManyWait
        admitted = self._waiting[turn] = asyncio.get_running_loop().create_future()
        self._look_later()
        left = asyncio.ensure_future(leave())
        left.add_done_callback(lambda _: _give_up(admitted))
        try:
            await admitted
        finally:
            left.cancel()

    def _begin(self, turn: Turn) -> None:
        turn.admitted_at = turn.computed_at = time.monotonic()
        self._running.add(turn)
        self._look_later()

    def _is_free(self) -> bool:
        if not self._callbacks_wait():
            return True
        now = time.monotonic()
        return now >= self._free_at and all(now > turn.computed_at + IDLE_SECONDS for turn in self._running)

    def _admit(self) -> None:
        """One: a moment without callbacks must not let all begin that have come together."""
        while self._waiting and self._is_free():
            turn = next(iter(self._waiting))
            admitted = self._waiting.pop(turn)
            if not admitted.done():
                self._begin(turn)
                admitted.set_result(None)
                return

    def _look_later(self) -> None:
        if not self._is_looking and (self._waiting or self._running):
            self._is_looking = True
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._is_looking = False
        for turn in self._running:
            self._count(turn)
        self._admit()
        self._look_later()

    def _count(self, turn: Turn) -> None:
        """What is computed while no callback waits costs nothing."""
        now, seconds = time.monotonic(), turn.computed()
        if seconds > 0:
            turn.computed_at = now
            if self._callbacks_wait():
                free_at = max(self._free_at, now - LOOK_SECONDS) + seconds / SHARE
                self._free_at = min(free_at, now + LONGEST_DEBT)

    def _rest_after(self, turn: Turn) -> None:
        if turn.asks_much and turn.admitted_at is not None and self._many_wait():
            now = time.monotonic()
            free_at = turn.admitted_at + (now - turn.admitted_at) / SHARE
            self._free_at = max(self._free_at, min(free_at, now + LONGEST_REST))


def has_debt() -> bool:
    """For a view that reads in parts: it answers with those that it has, and asks for the next turn then."""
    found: Callable[[], bool] = request.environ.get(DEBT, bool)
    return found()


def ask_much() -> None:
    """For a view whose reading is work for the database rather than for us."""
    if turn := request.environ.get(TURN):
        turn.asks_much = True


def _give_up(admitted: asyncio.Future[None]) -> None:
    if not admitted.done():
        admitted.set_exception(ClientLeft())


class RejectionPace:
    """Rejected callbacks are answered at once, so long as there are not more than REJECTIONS a second.

    Beyond, an answer is delayed, by LONGEST_DELAY at most: who forges as fast as the last one is answered
    would keep the event loop from genuine ones. On the event loop.
    """

    def __init__(self) -> None:
        self._free_at = 0.0

    def delay(self) -> float:
        """How many seconds the next is to wait."""
        now = time.monotonic()
        self._free_at = max(self._free_at, now - 1) + 1 / REJECTIONS
        if self._free_at > now + LONGEST_DELAY:
            spread = random.uniform(0.5, 1)  # noqa: S311  # or they would all be answered at once
            self._free_at = now + spread * LONGEST_DELAY
        return max(0.0, self._free_at - now)
