"""A heartbeat tells of this process, its spool and when it was blind, in an order that death cannot turn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.engine import make_url

from service.ledger.answered import Answered
from service.ledger.missed import Missed
from service.store import blind_periods
from service.store.engine import Database, DatabaseUnready
from service.store.tables import process
from service.workers import heartbeat as heartbeats
from service.workers.heartbeat import Heartbeat
from tests.house import wait_until
from tests.ledger.desk import Desk, lose, now
from tests.workers.test_hosts import age, beats, periods, rows

TABLES = ("spool", "blind_period")


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    made = Desk(database, tmp_path / "spool")
    made.backlog.check()
    return made


def heart(desk: Desk) -> Heartbeat:
    return Heartbeat(desk.database, desk.backlog, Missed(), Answered())


def alive(database: Database) -> int:
    with database.read() as db:
        return len(db.execute(select(process)).all())


@contextmanager
def renamed(database: Database, table: str) -> Iterator[None]:
    """As for a release whose migration was not run."""
    with database.begin() as db:
        db.execute(text(f"ALTER TABLE {table} RENAME TO missing"))
    yield
    with database.begin() as db:
        db.execute(text(f"ALTER TABLE missing RENAME TO {table}"))


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_missing_is_no_outage(desk: Desk, table: str) -> None:
    heartbeat = heart(desk)
    with renamed(desk.database, table):
        for _ in range(2):
            with pytest.raises(DatabaseUnready):
                heartbeat.beat(now())
        assert desk.database.breaker.takes_writes
        assert alive(desk.database) == 1
        assert not heartbeat.is_fresh
    wait_until(lambda: beats(heartbeat) and heartbeat.is_fresh)
    assert len(rows(desk.database)) == 1


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("table", TABLES)
def test_a_grant_that_is_missing_is_no_outage(desk: Desk, database_url: str, table: str) -> None:
    name = f"role_{uuid4().hex}"
    with desk.database.begin() as db:
        db.execute(text(f"CREATE ROLE {name} LOGIN"))
        db.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}"))
        db.execute(text(f"REVOKE ALL ON {table} FROM {name}"))
    database = Database(make_url(database_url).set(username=name).render_as_string(hide_password=False))
    try:
        with pytest.raises(DatabaseUnready):
            Heartbeat(database, desk.backlog, Missed(), Answered()).beat(now())
        assert database.breaker.takes_writes
        assert alive(database) == 1
    finally:
        database.close()
        with desk.database.begin() as db:
            db.execute(text(f"DROP OWNED BY {name}"))
            db.execute(text(f"DROP ROLE {name}"))


def test_the_first_heartbeat_counts_what_lies_in_the_spool_from_before(
    desk: Desk, database: Database, tmp_path: Path
) -> None:
    before = heart(desk)
    desk.backlog.save(desk.callbacks(3))
    wait_until(lambda: beats(before))
    desk.backlog.close()  # and it is killed
    again = Desk(database, tmp_path / "spool")
    again.backlog.check()
    wait_until(lambda: beats(heart(again)))
    assert [row["entries"] for row in rows(database)] == [3]


def test_that_nobody_was_there_is_told_though_the_first_one_dies_at_its_first_heartbeat(desk: Desk) -> None:
    wait_until(lambda: beats(heart(desk)))
    age(desk.database, 60)
    with renamed(desk.database, "spool"), pytest.raises(DatabaseUnready):
        heart(desk).beat(now())  # its last
    wait_until(lambda: beats(heart(desk)))
    assert [(found["why"], found["host"]) for found in periods(desk.database)] == [("away", None)]


@pytest.fixture
def short_gap(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds without a heartbeat that are more than a restart."""
    for module in (blind_periods, heartbeats):
        monkeypatch.setattr(module, "GAP", timedelta(seconds=0.2))
    return 0.3


def test_who_begins_after_an_outage_of_the_database_does_not_take_the_others_for_away(
    desk: Desk, short_gap: float
) -> None:
    alive_all_along, new = heart(desk), heart(desk)
    wait_until(lambda: beats(alive_all_along))
    time.sleep(short_gap)
    wait_until(lambda: beats(new))
    assert [found["why"] for found in periods(desk.database)] == ["away"]
    wait_until(lambda: beats(alive_all_along))
    assert {found["why"] for found in periods(desk.database)} == {"silent"}


def test_who_began_during_an_outage_of_the_database_was_there_from_then_on(
    desk: Desk, short_gap: float
) -> None:
    wait_until(lambda: beats(heart(desk)))  # it dies
    lose(desk.database, "a test")
    began = heart(desk)
    began.run_once(now())
    time.sleep(short_gap)
    wait_until(lambda: beats(began))
    assert periods(desk.database) == []


def test_what_it_has_to_say_is_fresh_for_a_while_only(desk: Desk, short_gap: float) -> None:
    heartbeat = heart(desk)
    assert not heartbeat.is_fresh
    wait_until(lambda: beats(heartbeat) and heartbeat.is_fresh)
    time.sleep(short_gap)
    assert not heartbeat.is_fresh
