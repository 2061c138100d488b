"""A worker runs again and again, whatever happens, and ends when it is asked to."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from service.log_lines import fields_of
from service.store.engine import DatabaseUnavailable
from service.workers.runner import Runner
from tests.house import wait_until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Fails:
    """Each time in another way."""

    def __init__(self) -> None:
        self.times: list[datetime] = []

    def run_once(self, now: datetime) -> None:
        self.times.append(now)
        raise [DatabaseUnavailable("it has gone"), ZeroDivisionError("a bug")][len(self.times) % 2]


def test_it_runs_again_whatever_happens_until_it_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    worker = Fails()
    runner = Runner("worker", worker.run_once, 0.01, lambda: NOW)
    runner.start()
    wait_until(lambda: len(worker.times) > 4)
    runner.end()
    runner.join(5)
    count = len(worker.times)
    assert set(worker.times) == {NOW}
    messages = {record.message for record in caplog.records}
    assert messages == {"a worker failed, will try again", "the database is unavailable, will try again"}
    assert {fields_of(record)["worker"] for record in caplog.records} == {"worker"}
    assert len(worker.times) == count


def test_one_that_never_started_can_be_ended() -> None:
    runner = Runner("worker", Fails().run_once, 0.01, lambda: NOW)
    runner.end()
    runner.join(5)


class Notes:
    """When it ran."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def run_once(self, _now: datetime) -> None:
        self.times.append(time.monotonic())


def test_one_that_is_woken_runs_at_once_but_not_too_often() -> None:
    worker = Notes()
    runner = Runner("worker", worker.run_once, 60, lambda: NOW, 0.1)
    runner.start()
    time.sleep(0.15)
    assert worker.times == []
    woken = time.monotonic()
    runner.wake()
    wait_until(lambda: bool(worker.times), 1)
    assert worker.times[0] - woken < 0.05
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        runner.wake()
        time.sleep(0.001)
    runner.end()
    runner.join(5)
    assert 2 < len(worker.times) <= 7
    assert all(after - before > 0.09 for before, after in pairwise(worker.times))


def test_one_that_sleeps_for_long_ends_at_once() -> None:
    worker = Notes()
    runner = Runner("worker", worker.run_once, 60, lambda: NOW)
    runner.start()
    began = time.monotonic()
    runner.end()
    runner.join(5)
    assert time.monotonic() - began < 1
    assert worker.times == []
