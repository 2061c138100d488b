"""Who waits is woken by what concerns it, and nobody is forgotten, whatever comes in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.store.engine import Database
from service.store.numbered import Numbered
from service.web import waiting, waiting_readers
from service.web.pace import ClientLeft, TooManyWait
from service.web.waiting import EVERYTHING, Topic, Wait
from service.web.waiting_readers import WaitingReaders
from service.workers.tail import Tail
from tests.ledger.lines import add, number_all

TOPICS: list[Topic] = [
    EVERYTHING,
    *((name, value) for name in ("session", "account", "connector") for value in "ab"),
]
EVENTS = st.tuples(
    st.sampled_from(["a", "b", None]), st.sampled_from("ab"), st.sampled_from(["a", "b", None])
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("number"), EVENTS),
        st.tuples(st.just("look"), st.sampled_from(TOPICS)),
        st.tuples(st.just("enter"), st.integers(0, 3)),
        st.tuples(st.just("tell"), st.integers(1, 3)),
        st.tuples(st.just("leave"), st.integers(0, 3)),
    ),
    max_size=40,
)


def concerns(event: Numbered, topic: Topic) -> bool:
    name, value = topic
    if topic == EVERYTHING:
        return True
    of = {"session": event.session_id, "account": event.account_sid, "connector": event.connector_name}
    return of[name] == value


def nobody_leaves() -> Awaitable[object]:
    return asyncio.get_running_loop().create_future()


def wait(
    readers: WaitingReaders,
    wanted: Wait,
    seconds: float = 5,
    leave: Callable[[], Awaitable[object]] = nobody_leaves,
    ended: asyncio.Future[None] | None = None,
) -> asyncio.Task[bool]:
    """Whether it may wait again."""

    async def may_wait() -> bool:
        until, end = time.monotonic() + seconds, ended or asyncio.get_running_loop().create_future()
        return (await readers.wait(wanted, until, leave, end)).may_wait

    return asyncio.create_task(may_wait())


async def rounds() -> None:
    """Of the loop, until all is done that can be."""
    for _ in range(8):
        await asyncio.sleep(0)


class Ledger:
    """Events, a tail that tells of them now or later, and readers between their look and their wait."""

    def __init__(self) -> None:
        self.events: list[Numbered] = []
        self.readers = WaitingReaders(100)
        self.looked: list[tuple[Topic, int]] = []
        self.waiting: list[tuple[Topic, int, bool, asyncio.Task[bool]]] = []

    async def number(self, event: tuple[str | None, str, str | None]) -> None:
        self.events.append(Numbered(len(self.events) + 1, *event))

    async def look(self, topic: Topic) -> None:
        self.looked.append((topic, len(self.events)))

    async def enter(self, which: int) -> None:
        if self.looked:
            topic, after = self.looked.pop(which % len(self.looked))
            known = self.readers._recent[0].position - 1 if self.readers._recent else self.readers.position
            wanted = Wait(frozenset({topic}), after, 5, gathers=which % 2 == 0)
            is_late = known is not None and after < known  # it has to look again, just in case
            self.waiting.append((topic, after, is_late, wait(self.readers, wanted)))
            await rounds()

    async def tell(self, most: int) -> None:
        after = self.readers.position
        if after is not None and (events := self.events[after : after + most]):
            self.readers.tell(after, events, events[-1].position)
            await rounds()

    async def leave(self, which: int) -> None:
        if self.waiting:
            *_, waits = self.waiting.pop(which % len(self.waiting))
            waits.cancel()
            await rounds()

    async def check(self) -> None:
        while self.looked:
            await self.enter(0)
        while (at := self.readers.position) is not None and at < len(self.events):
            await self.tell(100)
        await asyncio.sleep(0.002)  # those who gather
        await rounds()
        for topic, after, is_late, waits in self.waiting:
            is_concerned = any(concerns(event, topic) for event in self.events[after:])
            assert waits.done() or not is_concerned, (topic, after, self.events)
            assert is_concerned or is_late or not waits.done(), (topic, after, self.events)
            waits.cancel()
        await rounds()
        assert self.readers.position is None
        assert not self.readers._by_topic


@pytest.mark.parametrize("most_recent", [2, 2000])
def test_who_is_woken_is_who_is_concerned(monkeypatch: pytest.MonkeyPatch, most_recent: int) -> None:
    monkeypatch.setattr(waiting_readers, "GATHER_SECONDS", 0)
    monkeypatch.setattr(waiting_readers, "MOST_RECENT", most_recent)

    @given(STEPS)
    @settings(max_examples=300, deadline=None, database=None)
    def check(steps: list[tuple[str, Any]]) -> None:
        async def happen() -> None:
            ledger = Ledger()
            for step, argument in steps:
                await getattr(ledger, step)(argument)
            await ledger.check()

        asyncio.run(happen())

    check()


def run(happen: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        await asyncio.wait_for(happen(), 20)

    asyncio.run(in_time())


OF_A = frozenset({("session", "a")})
A_STARTED = Numbered(1, "a", "account-1", None)


def test_what_was_numbered_between_the_look_and_the_wait_is_not_missed() -> None:
    async def happen() -> None:
        readers = WaitingReaders(10)
        other = wait(readers, Wait(frozenset({("session", "b")}), 0, 5))
        await rounds()
        readers.tell(0, [A_STARTED], 1)
        await rounds()
        assert await wait(readers, Wait(OF_A, 0, 5))
        assert not other.done()

    run(happen)


def test_who_gathers_is_woken_at_once_and_then_once_for_what_comes_together() -> None:
    everything = frozenset({EVERYTHING})

    async def happen() -> None:
        readers, began = WaitingReaders(10), time.monotonic()
        first = wait(readers, Wait(everything, 0, 5, gathers=True))
        await rounds()
        readers.tell(0, [A_STARTED], 1)
        assert await first
        assert time.monotonic() - began < waiting.GATHER_SECONDS
        gathering = wait(readers, Wait(everything, 1, 5, gathers=True))
        at_once = wait(readers, Wait(OF_A, 1, 5))
        await rounds()
        readers.tell(1, [Numbered(2, "a", "account-1", None)], 2)
        await at_once
        late = wait(readers, Wait(everything, 2, 5, gathers=True))
        has_news = wait(readers, Wait(frozenset(), 2, 5, gathers=True, has_news=True))
        await rounds()
        assert not gathering.done()
        readers.tell(2, [Numbered(3, "a", "account-1", None)], 3)
        assert await gathering
        assert await late
        assert await has_news
        assert time.monotonic() - began >= waiting.GATHER_SECONDS

    run(happen)


def test_who_comes_while_others_are_woken_is_woken_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_readers, "GATHER_SECONDS", 0.01)

    async def happen() -> None:
        readers = WaitingReaders(10)
        wake_gathering = readers._wake_gathering

        def wake_and_find() -> None:
            wake_gathering()
            if readers.position == 1:
                readers._take(1, [Numbered(2, "b", "account-2", None)], 2)

        monkeypatch.setattr(readers, "_wake_gathering", wake_and_find)
        first = wait(readers, Wait(OF_A, 0, 5, gathers=True))
        second = wait(readers, Wait(frozenset({("account", "account-2")}), 0, 5, gathers=True))
        await rounds()
        readers._take(0, [A_STARTED], 1)
        assert await first
        assert await second

    run(happen)


def test_at_the_end_of_its_time_there_is_no_more_of_it() -> None:
    async def happen() -> None:
        readers = WaitingReaders(10)
        assert not await wait(readers, Wait(OF_A, 0, 5), 0.05)
        assert not await wait(readers, Wait(OF_A, 0, 5), -1)
        assert readers.position is None

    run(happen)


def test_at_the_end_of_the_process_nobody_waits_any_more() -> None:
    async def happen() -> None:
        readers = WaitingReaders(10)
        waits = [
            wait(readers, Wait(topics, 0, 5, gathers=True)) for topics in (OF_A, frozenset({EVERYTHING}))
        ]
        await rounds()
        readers.end()
        assert await asyncio.gather(*waits) == [False, False]
        assert not await wait(readers, Wait(OF_A, 0, 5))

    run(happen)


def test_who_leaves_is_forgotten_and_makes_room() -> None:
    async def happen() -> None:
        readers = WaitingReaders(1)
        left, ended = asyncio.Event(), asyncio.get_running_loop().create_future()
        leaving = wait(readers, Wait(OF_A, 0, 5), leave=left.wait, ended=ended)
        await rounds()
        with pytest.raises(TooManyWait):
            await wait(readers, Wait(OF_A, 0, 5))
        left.set()
        with pytest.raises(ClientLeft):
            await leaving
        assert readers.position is None
        assert not await wait(readers, Wait(OF_A, 0, 5), 0.01)

    run(happen)


def test_who_sends_no_more_is_answered_at_once() -> None:
    async def happen() -> None:
        readers = WaitingReaders(1)
        ended = asyncio.get_running_loop().create_future()
        ending = wait(readers, Wait(OF_A, 0, 5), ended=ended)
        await rounds()
        ended.set_result(None)
        assert not await ending
        assert not await wait(readers, Wait(OF_A, 0, 5), ended=ended)

    run(happen)


def test_where_the_database_was_put_back_everybody_looks_again() -> None:
    async def happen() -> None:
        readers = WaitingReaders(10)
        waits = wait(readers, Wait(OF_A, 7, 5))
        await rounds()
        readers.tell(7, [], 3)
        assert await waits

    run(happen)


def test_news_for_those_who_have_left_is_nobodys() -> None:
    async def happen() -> None:
        readers = WaitingReaders(10)
        await wait(readers, Wait(OF_A, 0, 5), 0.01)
        waits = wait(readers, Wait(OF_A, 3, 5))
        await rounds()
        readers.tell(0, [A_STARTED], 1)
        await rounds()
        assert not waits.done()
        assert readers.position == 3
        waits.cancel()

    run(happen)


class Told:
    """What a tail says of a real database."""

    position: int | None = None

    def __init__(self) -> None:
        self.events: list[Numbered] = []

    def tell(self, after: int, events: Any, last: int) -> None:
        assert after == self.position
        assert [event.position for event in events] == list(range(after + 1, last + 1))
        self.events += events
        self.position = last


def test_the_tail_tells_all_and_nothing_twice(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.workers.tail.MOST_AT_ONCE", 3)
    monkeypatch.setattr("service.store.numbered.MOST_AT_ONCE", 3)
    told, tail = Told(), Tail(database)
    add(database, *"abcdefg")
    number_all(database)
    tail.run_once(datetime.now(UTC))
    tail.readers = told
    tail.run_once(datetime.now(UTC))
    assert told.events == []  # nobody waits
    told.position = 1
    tail.run_once(datetime.now(UTC))
    assert [event.position for event in told.events] == [2, 3, 4, 5, 6, 7]
    assert {(event.account_sid, event.session_id) for event in told.events} == {("account-1", None)}
    add(database, "h")
    number_all(database)
    tail.run_once(datetime.now(UTC))
    tail.run_once(datetime.now(UTC))
    assert [event.position for event in told.events] == [2, 3, 4, 5, 6, 7, 8]


def test_the_tail_asks_nothing_of_a_database_that_does_not_answer(database: Database) -> None:
    told, tail = Told(), Tail(database)
    tail.readers, told.position = told, 0
    add(database, "a")
    number_all(database)
    database.breaker.answers = False
    tail.run_once(datetime.now(UTC))
    assert told.events == []
    database.breaker.answers = True
    tail.run_once(datetime.now(UTC))
    assert told.position == 1


def test_a_tail_whose_readers_loop_is_closed_goes_on() -> None:
    async def make() -> WaitingReaders:
        return WaitingReaders(1)

    loop = asyncio.new_event_loop()
    with closing(loop):
        readers = loop.run_until_complete(make())
    readers.tell(0, [A_STARTED], 1)
