"""The worker of the watch: what it keeps, and what it waits for before it decides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from service.domain.deadlines import Limits
from service.domain.overdue import Call
from service.ledger import watch_pace
from service.ledger.look import Answer
from service.ledger.watch import Decided, Watch
from service.store.engine import Database, DatabaseUnavailable
from service.workers.asking import Asking, Budget
from service.workers.overdue import MOST_LOGGED, Overdue
from tests.house import wait_until
from tests.ledger.desk import now
from tests.ledger.tower import Tower, answered, ordered

ACCOUNT = "account-1"


class Halting(Watch):
    """Does not receive answers while it is told not to."""

    error: Exception | None = None

    def receive(self, answers: Sequence[Answer]) -> Decided:
        if self.error is not None:
            raise self.error
        return super().receive(answers)


class Station:
    """The worker as it is wired, beside a tower that makes time pass."""

    def __init__(self, database: Database, says: Call | None = None) -> None:
        self.tower = Tower(database)
        self.says = says or Call("completed")
        self.is_told = True
        self.asking = Asking(
            lambda _account, _call: self.says,
            lambda account_sid: account_sid == ACCOUNT,
            Budget(100),
            is_on=says is not None,
        )
        self.watch = Halting(database, Limits(), self.asking)
        self.worker = Overdue(
            database, self.watch, self.asking, lambda: False, lambda: False, lambda: self.is_told
        )

    def run(self) -> None:
        self.worker.run_once(now())

    def accepted_so_long_ago(self, database: Database, time: timedelta, count: int = 1) -> list[str]:
        ids = ordered(database, count)
        answered(database, ids)
        self.tower.follow()
        self.tower.pass_time(time)
        return ids


def test_it_follows_and_decides(database: Database) -> None:
    station = Station(database)
    (session_id,) = station.accepted_so_long_ago(database, timedelta(seconds=20))
    station.run()
    assert station.tower.watched(session_id).overdue is not None


def test_of_very_many_a_few_are_named_in_the_log_and_the_others_counted(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_pace, "SQLITE_FEWEST", 7)
    monkeypatch.setattr(watch_pace, "FEWEST", 7)
    station = Station(database)
    station.accepted_so_long_ago(database, timedelta(seconds=20), count=50)
    station.run()
    lines = [record.getMessage() for record in caplog.records]
    assert lines.count("session overdue") == MOST_LOGGED
    assert lines.count("more sessions are overdue") == 1
    counted = next(record for record in caplog.records if record.getMessage().startswith("more"))
    assert vars(counted)["fields"] == {"count": 30}


def test_nothing_is_decided_before_it_was_told_when_its_process_was_blind(
    database: Database,
) -> None:
    station = Station(database)
    (session_id,) = station.accepted_so_long_ago(database, timedelta(seconds=20))
    station.is_told = False
    station.run()
    assert station.tower.watched(session_id).overdue is None
    station.is_told = True
    station.run()
    assert station.tower.watched(session_id).overdue is not None


def test_an_answer_that_could_not_be_written_down_is_written_down_later(database: Database) -> None:
    station = Station(database, Call("completed"))
    ids = station.accepted_so_long_ago(database, timedelta(seconds=20), count=3)
    station.run()
    wait_until(lambda: len(station.asking._answers) == 3)
    station.watch.error = DatabaseUnavailable("for a while")
    with pytest.raises(DatabaseUnavailable):
        station.run()
    station.watch.error = None
    station.run()
    assert [station.tower.watched(id).call_status for id in ids] == ["completed"] * 3


def test_an_answer_that_the_database_refuses_keeps_no_other_back(
    database: Database, database_kind: str
) -> None:
    if database_kind == "sqlite":
        pytest.skip("it takes everything")
    station = Station(database, Call("completed"))
    ids = station.accepted_so_long_ago(database, timedelta(seconds=20), count=3)
    station.run()
    wait_until(lambda: len(station.asking._answers) == 3)
    answers = station.asking.answers(3)
    answers[1] = Answer(answers[1].question, Call("a NUL: \0"))
    station.asking.put_back(answers)
    station.run()
    refused = answers[1].question.session_id
    found = {id: station.tower.watched(id).call_status for id in ids}
    assert found == {id: None if id == refused else "completed" for id in ids}
