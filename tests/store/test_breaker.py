"""The circuit breaker: one place that knows whether the database answers and takes writes."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy import text

from service.store import keys
from service.store.breaker import BUSY_SECONDS, Breaker
from service.store.engine import (
    Database,
    DatabaseConflict,
    DatabaseError,
    DatabaseUnavailable,
    RecordRefused,
)
from tests.house import wait_until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def breaker() -> Breaker:
    return Breaker(drop=lambda: None)


def test_it_is_opened_once_and_drops_the_connections_once() -> None:
    dropped: list[bool] = []
    breaker = Breaker(drop=lambda: dropped.append(True))
    breaker.opened("gone", answers=False)
    breaker.opened("still gone", answers=True)
    assert (dropped, breaker.epoch) == ([True], 1)
    assert (breaker.takes_writes, breaker.answers) == (False, True)
    assert breaker.unavailable_since is not None


def test_one_at_a_time_may_probe_and_ever_more_rarely(breaker: Breaker) -> None:
    breaker.opened("gone", answers=False)
    with breaker.probe() as may:
        assert may
        with breaker.probe() as another:
            assert not another
    with breaker.probe() as may:
        assert not may


def test_a_commit_closes_it_and_a_probe_s_commit_leaves_the_back_off(breaker: Breaker) -> None:
    breaker.opened("gone", answers=False)
    with breaker.probe():
        breaker.closed(is_probe=True)
    assert breaker.takes_writes
    assert breaker.unavailable_since is None
    breaker.closed()
    assert breaker._pause < 0.5


def test_while_it_takes_no_writes_nobody_waits_for_the_database(database: Database) -> None:
    database.breaker.opened("a test", answers=True)
    with database.read() as db:
        assert db.scalar(text("SELECT 1")) == 1
    with pytest.raises(DatabaseUnavailable), database.begin():
        pytest.fail("it began")
    database.breaker.opened("a test", answers=False)
    with pytest.raises(DatabaseUnavailable), database.read():
        pytest.fail("it began")


def test_a_read_does_not_close_it_and_a_committed_probe_does(database: Database) -> None:
    database.breaker.opened("a test", answers=True)
    with database.read() as db:
        db.scalar(text("SELECT 1"))
    assert not database.breaker.takes_writes
    with database.begin(is_probe=True) as db:
        keys.create(db, "an app", NOW)
    assert database.breaker.takes_writes


def test_who_began_before_it_opened_does_not_commit(database: Database) -> None:
    def write() -> None:
        with database.begin() as db:
            keys.create(db, "an app", NOW)
            opening = partial(database.breaker.opened, "a test", answers=True)
            threading.Thread(target=opening).start()
            wait_until(lambda: not database.breaker.takes_writes)

    with pytest.raises(DatabaseUnavailable):
        write()
    with database.read() as db:
        assert keys.listed(db) == []


@pytest.mark.parametrize("database_kind", ["postgresql"])
@pytest.mark.parametrize(
    "statement",
    [
        "SET TRANSACTION READ ONLY",
        "SELECT * FROM nowhere",
        "SELECT nothing FROM api_key",
        "SET LOCAL ROLE pg_monitor",
    ],
    ids=["read-only", "no table", "no column", "no grant"],
)
def test_what_the_database_lacks_is_no_fault_of_a_record(database: Database, statement: str) -> None:
    def write() -> None:
        with database.begin() as db:
            db.execute(text(statement))
            keys.create(db, "an app", NOW)

    with pytest.raises(DatabaseUnavailable) as caught:
        write()
    assert caught.value.answers
    assert not isinstance(caught.value, DatabaseConflict)
    assert (database.breaker.takes_writes, database.breaker.answers) == (False, True)


def test_what_a_record_is_guilty_of_opens_nothing(database: Database) -> None:
    guilty = ["INSERT INTO api_key (id) VALUES ('x')"]
    if not database.is_sqlite:
        guilty += ["SELECT 1/0", "SELECT CAST('x' AS integer)"]
    for statement in guilty:
        with pytest.raises(RecordRefused), database.begin() as db:
            db.execute(text(statement))
    assert database.breaker.takes_writes


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_lock_of_somebody_else_is_a_conflict_first_and_an_outage_only_after_a_while(
    database: Database, database_url: str
) -> None:
    other = Database(database_url)
    with other.begin():
        began = time.monotonic()
        with pytest.raises(DatabaseConflict), database.begin(time.monotonic() + 0.2):
            pytest.fail("it began")
        assert database.breaker.epoch == 0
        while database.breaker.epoch == 0:
            assert time.monotonic() - began < BUSY_SECONDS + 3
            with pytest.raises(DatabaseError), database.begin(time.monotonic() + 0.2):
                pytest.fail("it began")
    assert time.monotonic() - began > BUSY_SECONDS
    other.close()


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_read_that_takes_for_ever_is_ended_and_is_no_outage(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.sqlite.limit.__defaults__", (0.3,))
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(DatabaseUnavailable), database.read() as db:
        db.execute(text(endless))
    assert (database.breaker.takes_writes, database.breaker.answers) == (True, True)
