"""Callbacks come first, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.web.pace import (
    LONGEST_DELAY,
    REJECTIONS,
    SHARE,
    ClientLeft,
    ReadPace,
    RejectionPace,
    TooManyWait,
)

READERS = 8
LONG = 0.05  # seconds of computing


def compute(seconds: float) -> None:
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass


class Readers:
    """Each in a thread. `callbacks_wait` and `many_wait` are the test's to change."""

    def __init__(self, most_waiting: int = 100) -> None:
        self.callbacks_wait = True
        self.many_wait = False
        self.pace = ReadPace(lambda: self.callbacks_wait, lambda: self.many_wait, most_waiting)
        self.begun: list[object] = []
        self._threads = ThreadPoolExecutor(READERS)

    async def read(
        self,
        do: Callable[[float], None] = compute,
        seconds: float = LONG,
        name: object = None,
        *,
        asks_much: bool = False,
    ) -> float:
        """Seconds that it had to wait for its turn."""
        asked = time.monotonic()
        async with self.pace.turn(asyncio.Event().wait) as turn:
            waited = time.monotonic() - asked
            turn.asks_much = asks_much
            self.begun.append(name)
            await asyncio.get_running_loop().run_in_executor(self._threads, turn.run, do, seconds)
            return waited

    async def computed(self, for_seconds: float, seconds: float) -> float:
        """CPU seconds of READERS that ask again and again."""
        until, turns = time.monotonic() + for_seconds, 0

        async def ask() -> None:
            nonlocal turns
            while time.monotonic() < until:
                await self.read(seconds=seconds)
                turns += 1

        await asyncio.gather(*(ask() for _ in range(READERS)))
        return turns * seconds


def run(test: Callable[[Readers], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def tested() -> None:
        await asyncio.wait_for(test(Readers(**options)), 30)

    asyncio.run(tested())


@pytest.mark.parametrize("seconds", [0.004, LONG])
def test_readers_compute_for_their_share_of_the_time_while_callbacks_wait(seconds: float) -> None:
    async def test(readers: Readers) -> None:
        began = time.monotonic()
        computed = await readers.computed(2, seconds)
        taken = time.monotonic() - began
        assert SHARE / 4 * taken <= computed <= (SHARE + 0.05) * taken + seconds

    run(test)


def test_a_moment_without_callbacks_lets_nobody_off_what_was_computed_before() -> None:
    async def test(readers: Readers) -> None:
        began = time.monotonic()
        await readers.read(seconds=0.3)
        readers.callbacks_wait = False
        await asyncio.sleep(0.02)
        readers.callbacks_wait = True
        asked = time.monotonic()
        assert asked + await readers.read() - began > 0.9 * 0.3 / SHARE

    run(test)


def test_while_callbacks_wait_one_computes_at_a_time_in_the_order_in_which_they_came() -> None:
    async def test(readers: Readers) -> None:
        at_once = [0]

        def watched(seconds: float) -> None:
            at_once.append(at_once[-1] + 1)
            compute(seconds)
            at_once.append(at_once[-1] - 1)

        await asyncio.gather(*(readers.read(watched, name=number) for number in range(READERS)))
        assert max(at_once) == 1
        assert readers.begun == list(range(READERS))

    run(test)


def test_who_computes_for_long_is_alone_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.web.pace.IDLE_SECONDS", 0.3)  # a busy machine may let it wait for a core

    async def test(readers: Readers) -> None:
        long = asyncio.create_task(readers.read(seconds=0.6))
        await asyncio.sleep(0.01)
        await readers.read()
        assert long.done()

    run(test)


def test_readers_wait_for_nothing_where_no_callback_waits_and_it_costs_nothing_later() -> None:
    async def test(readers: Readers) -> None:
        readers.callbacks_wait = False
        assert max(await asyncio.gather(*(readers.read() for _ in range(READERS)))) < 0.5
        readers.callbacks_wait = True
        assert await readers.read() < 0.5

    run(test)


def test_all_who_wait_begin_once_no_callback_waits_any_more() -> None:
    async def test(readers: Readers) -> None:
        await readers.read(seconds=0.5)
        waiting = asyncio.gather(*(readers.read() for _ in range(READERS)))
        await asyncio.sleep(0.05)
        readers.callbacks_wait = False
        assert max(await waiting) < 1.2  # of the 3 s that it would take

    run(test)


def test_a_moment_without_callbacks_lets_a_few_begin_at_most() -> None:
    async def test(readers: Readers) -> None:
        await readers.read(seconds=0.3)
        waiting = [asyncio.create_task(readers.read()) for _ in range(READERS)]
        await asyncio.sleep(0.01)
        readers.callbacks_wait = False
        await asyncio.sleep(0.006)
        readers.callbacks_wait = True
        assert len(readers.begun) - 1 < READERS / 2
        await asyncio.gather(*waiting)

    run(test)


def test_who_waits_for_the_database_keeps_others_waiting_for_a_moment_only() -> None:
    async def test(readers: Readers) -> None:
        waiting = [asyncio.create_task(readers.read(time.sleep, 1)) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert 0.1 < await readers.read() < 0.6
        await asyncio.gather(*waiting)

    run(test)


@pytest.mark.parametrize(
    ("asks_much", "many_wait", "least", "most"),
    [(False, True, 0, 0.7), (True, False, 0, 0.7), (True, True, 0.7, 10)],
)
def test_of_a_report_the_time_of_the_database_counts_beside_many_callbacks(
    asks_much: bool, many_wait: bool, least: float, most: float
) -> None:
    async def test(readers: Readers) -> None:
        readers.many_wait = many_wait
        await readers.read(time.sleep, LONG, asks_much=asks_much)
        assert least <= await readers.read() < most

    run(test)


def test_a_database_that_takes_very_long_delays_the_next_for_two_seconds_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.web.pace.LONGEST_REST", 0.2)

    async def test(readers: Readers) -> None:
        readers.many_wait = True
        await readers.read(time.sleep, 1, asks_much=True)
        assert await readers.read() < 1

    run(test)


def test_a_very_long_reading_delays_the_next_for_ten_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.web.pace.LONGEST_DEBT", 0.5)

    async def test(readers: Readers) -> None:
        await readers.read(seconds=0.6)
        assert await readers.read() < 1

    run(test)


def test_who_reads_in_parts_is_told_to_end_while_callbacks_wait_and_have_paid_for_it() -> None:
    async def test(readers: Readers) -> None:
        assert not readers.pace.has_debt()
        await readers.read()
        assert readers.pace.has_debt()
        readers.callbacks_wait = False
        assert not readers.pace.has_debt()
        readers.callbacks_wait = True
        await asyncio.sleep(2 * LONG / SHARE)
        assert not readers.pace.has_debt()

    run(test)


def test_no_more_may_wait_than_there_is_room_for() -> None:
    async def test(readers: Readers) -> None:
        reading = [asyncio.create_task(readers.read()) for _ in range(3)]
        await asyncio.sleep(0.01)
        with pytest.raises(TooManyWait):
            await readers.read()
        await asyncio.gather(*reading)

    run(test, most_waiting=2)


def test_who_leaves_makes_room_for_others() -> None:
    async def test(readers: Readers) -> None:
        async def wait(leave: asyncio.Event) -> None:
            async with readers.pace.turn(leave.wait):
                readers.begun.append("left")

        left = asyncio.Event()
        first = asyncio.create_task(readers.read(seconds=0.2))
        await asyncio.sleep(0.01)
        leaving, cancelled = (asyncio.create_task(wait(left)) for _ in range(2))
        await asyncio.sleep(0.01)
        left.set()
        cancelled.cancel()
        with pytest.raises(ClientLeft):
            await leaving
        await asyncio.gather(first, readers.read())
        assert "left" not in readers.begun

    run(test, most_waiting=2)


async def waits(count: int) -> list[float]:
    """Seconds that each of `count` that come at once waits, the shortest first."""
    pace = RejectionPace()

    async def one() -> float:
        began = time.monotonic()
        await asyncio.sleep(pace.delay())
        return time.monotonic() - began

    return sorted(await asyncio.gather(*(one() for _ in range(count))))


def test_a_few_rejected_ones_are_answered_at_once() -> None:
    assert asyncio.run(waits(REJECTIONS))[-1] < 0.1


def test_of_many_each_waits_for_its_turn_but_not_for_long() -> None:
    waited = asyncio.run(waits(10 * REJECTIONS))
    assert waited[REJECTIONS - 1] < 0.1
    assert waited[2 * REJECTIONS] > 0.2
    assert waited[-1] < LONGEST_DELAY + 0.5
