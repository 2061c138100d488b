"""The breaker opens for all when one fails, and closes only by a write that was committed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from service.store.breaker import Breaker
from service.store.engine import DatabaseUnavailable
from service.store.errors import Outage


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def commit(breaker: Breaker, epoch: int | None = None, *, resets_backoff: bool = False) -> None:
    with breaker.committing(breaker.epoch if epoch is None else epoch, resets_backoff=resets_backoff):
        pass


def may_probe(breaker: Breaker) -> bool:
    with breaker.probe() as may_try:
        return may_try


def fail_probe(breaker: Breaker) -> None:
    with breaker.probe() as may_try:
        assert may_try
        breaker.failed(Outage.WRITES, "still")


@contextmanager
def committing_elsewhere(breaker: Breaker) -> Iterator[threading.Event]:
    """A COMMIT that is on its way until the event is set, and then ends well."""
    begun, ends = threading.Event(), threading.Event()

    def run() -> None:
        with breaker.committing(0, resets_backoff=False):
            begun.set()
            ends.wait(5)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(run)
        begun.wait(5)
        yield ends
        ends.set()
        done.result()


@pytest.mark.parametrize(
    ("outage", "answers", "takes_writes"),
    [(Outage.NONE, True, True), (Outage.WRITES, True, False), (Outage.ALL, False, False)],
)
def test_it_tells_whether_the_database_answers_from_whether_it_takes_writes(
    breaker: Breaker, outage: Outage, answers: bool, takes_writes: bool
) -> None:
    breaker.failed(outage, "because")
    assert (breaker.answers, breaker.takes_writes) == (answers, takes_writes)
    assert breaker.epoch == (0 if takes_writes else 1)
    assert (breaker.unavailable_since is None) == takes_writes


def test_who_asks_while_it_is_open_is_told_why(breaker: Breaker) -> None:
    breaker.check_reads()
    breaker.check_writes()
    breaker.failed(Outage.ALL, "the disk is full")
    for check in (breaker.check_reads, breaker.check_writes):
        with pytest.raises(DatabaseUnavailable, match="the disk is full"):
            check()


def test_a_server_that_refuses_writes_answers_again(breaker: Breaker) -> None:
    breaker.failed(Outage.ALL, "silent")
    breaker.failed(Outage.WRITES, "read-only")
    assert (breaker.answers, breaker.takes_writes, breaker.epoch) == (True, False, 1)
    breaker.failed(Outage.ALL, "silent again")
    assert (breaker.answers, breaker.epoch) == (False, 2)


def test_only_one_probes_and_not_before_the_backoff_has_passed(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(Outage.WRITES, "because")
    assert not may_probe(breaker)
    clock.now += 0.25
    with breaker.probe() as first, ThreadPoolExecutor(1) as pool:
        assert first
        assert not pool.submit(may_probe, breaker).result()


def test_the_backoff_doubles_up_to_its_longest(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(Outage.WRITES, "because")
    waited = []
    for _ in range(6):
        began = clock.now
        while not may_probe_now(breaker):
            clock.now += 0.25
        waited.append(clock.now - began)
    assert waited == [0.25, 0.5, 1, 2, 2, 2]


def may_probe_now(breaker: Breaker) -> bool:
    with breaker.probe() as may_try:
        if may_try:
            breaker.failed(Outage.WRITES, "still")
        return may_try


def test_a_probe_that_meets_a_conflict_does_not_lengthen_the_backoff(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(Outage.WRITES, "because")
    for _ in range(5):
        clock.now += 0.25
        with breaker.probe() as may_try:
            assert may_try
            breaker.failed(Outage.NONE, "somebody came in the way")


def test_a_committed_write_closes_it_and_a_real_one_resets_the_backoff(
    breaker: Breaker, clock: Clock
) -> None:
    breaker.failed(Outage.ALL, "because")
    clock.now += 0.25
    fail_probe(breaker)
    clock.now += 0.5
    with breaker.probe() as may_try:
        assert may_try
        commit(breaker)
    assert (breaker.answers, breaker.takes_writes, breaker.unavailable_since) == (True, True, None)
    assert may_probe(breaker)  # nothing stands in the way of a write
    breaker.failed(Outage.WRITES, "again")
    clock.now += 0.25
    assert not may_probe(breaker)  # a heartbeat's success is no reason to try callbacks sooner
    clock.now += 0.25
    with breaker.probe():
        commit(breaker)
    commit(breaker, resets_backoff=True)
    breaker.failed(Outage.WRITES, "again")
    clock.now += 0.25
    assert may_probe(breaker)


def test_a_connection_of_an_earlier_epoch_commits_nothing(breaker: Breaker) -> None:
    breaker.failed(Outage.WRITES, "because")
    with pytest.raises(DatabaseUnavailable, match="because"):
        commit(breaker, epoch=0)
    assert not breaker.takes_writes


def test_a_stalled_commit_opens_it_and_closes_it_when_it_ends_well(breaker: Breaker, clock: Clock) -> None:
    with committing_elsewhere(breaker) as ends:
        breaker.stalled()
        assert (breaker.answers, breaker.takes_writes, breaker.epoch) == (True, False, 1)
        clock.now += 10
        assert not may_probe(breaker)  # the commit on its way is the probe
        ends.set()
    assert (breaker.takes_writes, breaker.epoch) == (True, 1)


def test_a_commit_that_failed_lets_another_probe(breaker: Breaker, clock: Clock) -> None:
    def stall() -> None:
        with breaker.committing(0, resets_backoff=False):
            breaker.stalled()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stall()
    clock.now += 0.25
    assert not breaker.takes_writes
    assert may_probe(breaker)
