"""Callbacks come first, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from service.web.pace import LONGEST_DELAY, REJECTIONS, SHARE, ReadPace, RejectionPace

THREADS = 8


def computed(pace: ReadPace, for_seconds: float) -> float:
    """CPU seconds that THREADS readers took, all that they could get."""

    def read() -> float:
        began, used = time.monotonic(), 0.0
        while time.monotonic() - began < for_seconds:
            with pace.turn():
                turn = time.thread_time()
                while time.thread_time() - turn < 0.004:
                    pass
                used += time.thread_time() - turn
        return used

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(job.result() for job in [pool.submit(read) for _ in range(THREADS)])


def test_readers_share_a_part_of_the_time_while_callbacks_wait() -> None:
    assert computed(ReadPace(lambda: True), 2) <= (SHARE + 0.1) * 2


def test_readers_get_their_part_however_long_callbacks_wait() -> None:
    assert computed(ReadPace(lambda: True), 2) >= SHARE / 4 * 2


def test_readers_wait_for_nothing_where_no_callback_waits() -> None:
    pace = ReadPace(lambda: False)
    began = time.monotonic()
    for _ in range(1000):
        with pace.turn():
            pass
    assert time.monotonic() - began < 1


def test_who_waits_for_the_database_uses_up_nobodys_part() -> None:
    pace = ReadPace(lambda: True)
    with pace.turn():
        time.sleep(0.5)
    began = time.monotonic()
    with pace.turn():
        pass
    assert time.monotonic() - began < 0.2


def test_a_long_reading_delays_the_next_for_a_second_at_most() -> None:
    pace = ReadPace(lambda: True)
    with pace.turn():
        began = time.thread_time()
        while time.thread_time() - began < 1:
            pass
    after = time.monotonic()
    with pace.turn():
        pass
    assert 0.5 < time.monotonic() - after < 1.5


async def waits(count: int) -> list[float]:
    """Seconds that each of `count` that come at once waits, the shortest first."""
    pace = RejectionPace()

    async def one() -> float:
        began = time.monotonic()
        await pace.wait()
        return time.monotonic() - began

    return sorted(await asyncio.gather(*(one() for _ in range(count))))


def test_a_few_rejected_ones_are_answered_at_once() -> None:
    assert asyncio.run(waits(REJECTIONS))[-1] < 0.1


def test_of_many_each_waits_for_its_turn_but_not_for_long() -> None:
    waited = asyncio.run(waits(10 * REJECTIONS))
    assert waited[REJECTIONS - 1] < 0.1
    assert waited[2 * REJECTIONS] > 0.2
    assert waited[-1] < LONGEST_DELAY + 0.5
