"""A worker runs again and again, whatever happens, and ends when it is asked to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

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
    assert "worker failed, will try again" in messages
    assert "worker: the database is unavailable, will try again: it has gone" in messages
    assert len(worker.times) == count


def test_one_that_never_started_can_be_ended() -> None:
    runner = Runner("worker", Fails().run_once, 0.01, lambda: NOW)
    runner.end()
    runner.join(5)
