"""What real processes leave in the database of their host, their spool and their outages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select, text, update

from service.ledger.answered import Answered
from service.ledger.missed import Missed
from service.sandbox import Sandbox, Session
from service.spool import Spool
from service.spool.identity import NAME, Identity
from service.store import blindness, hosts, processes
from service.store.blindness import Blindness
from service.store.engine import Database, DatabaseUnavailable
from service.store.tables import process
from service.store.watch_tables import blind_period, spool
from service.workers.heartbeat import Heartbeat
from tests.bed.web import CHECKOUT
from tests.house import House, wait_until
from tests.ledger.desk import Desk, lose, now

Build = Callable[..., House]

BOTH = """
import sys
from pathlib import Path
from service.spool import Spool
from service.spool.identity import Identity
sys.stdin.readline()
print(Identity(Path(sys.argv[1])).id)
"""


def rows(database: Database) -> list[dict[str, Any]]:
    with database.read() as db:
        return [dict(row) for row in db.execute(select(spool)).mappings()]


def periods(database: Database) -> list[dict[str, Any]]:
    with database.read() as db:
        return [dict(row) for row in db.execute(select(blind_period)).mappings()]


def since(database: Database, seconds: float) -> Blindness | None:
    with database.read() as db:
        return blindness.since(db, processes.now_of(db) - timedelta(seconds=seconds))


def age(database: Database, seconds: float) -> None:
    """As if all heartbeats had been so long ago."""
    with database.begin() as db:
        then = processes.now_of(db) - timedelta(seconds=seconds)
        db.execute(update(spool).values(seen_at=then))
        db.execute(update(process).values(alive_at=then))


def seen(house: House) -> Callable[[], bool]:
    return lambda: len(rows(house.database)) == 1


def test_processes_that_begin_at_once_agree_on_the_spool_s_id(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BOTH, str(tmp_path)]
    pipe = subprocess.PIPE
    begun = [subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True) for _ in range(6)]
    for one in begun:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    ids = {one.communicate()[0].strip() for one in begun}
    assert ids == {(tmp_path / NAME).read_text()}
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_of_those_that_share_a_spool_one_is_the_last(tmp_path: Path) -> None:
    one, two = Identity(tmp_path), Identity(tmp_path)
    assert one.id == two.id
    assert [one.is_last(), two.is_last()] == [False, True]
    one.close()
    two.close()
    again = Identity(tmp_path)
    assert (again.id, again.is_last()) == (one.id, True)
    again.close()


def test_a_damaged_id_is_replaced(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("no id")
    made = Identity(tmp_path)
    assert (tmp_path / NAME).read_text() == made.id
    made.close()


def test_a_healthy_host_is_not_blind_and_its_clean_end_removes_its_row(house: House) -> None:
    wait_until(seen(house))
    assert since(house.database, 3600) is None
    assert periods(house.database) == []
    house.web.stop()
    assert rows(house.database) == []
    assert since(house.database, 3600) is None


def test_two_processes_of_a_host_share_a_row_until_the_last_one_ends(
    build: Build, tmp_path: Path, database_kind: str
) -> None:
    if database_kind == "sqlite":
        pytest.skip("one web process there")
    folder = str(tmp_path / "shared")
    one, two = build(SPOOL_DIR=folder), build(SPOOL_DIR=folder)
    wait_until(lambda: [host.processes for host in all_hosts(one.database)] == [2])
    assert len(rows(one.database)) == 1
    one.web.stop()
    assert len(rows(two.database)) == 1
    two.web.stop()
    assert rows(two.database) == []


def all_hosts(database: Database) -> list[hosts.Host]:
    with database.read() as db:
        return hosts.all(db)


def test_a_host_that_is_killed_and_never_returns_is_decided_after_ten_minutes(house: House) -> None:
    wait_until(seen(house))
    house.web.kill_master()
    assert len(rows(house.database)) == 1
    age(house.database, 20)
    host = rows(house.database)[0]["host"]
    words = f"callbacks may still wait on host {host}"
    assert since(house.database, 5) == Blindness(words, is_decided=False)
    age(house.database, 601)
    blind = since(house.database, 5)
    assert blind is not None
    assert blind.is_decided
    assert blind.words.startswith(f"host {host} was not seen since ")

    house.web.start()  # it comes back, with the same spool
    wait_until(lambda: since(house.database, 0) is None)
    assert len(rows(house.database)) == 1


def test_an_outage_of_all_is_a_period_in_which_we_were_away(house: House) -> None:
    wait_until(seen(house))
    house.web.stop()
    age(house.database, 120)
    house.web.start()
    wait_until(lambda: len(periods(house.database)) == 1)
    (found,) = periods(house.database)
    assert (found["host"], found["why"]) == (None, "away")
    assert 120 <= (found["ended_at"] - found["began_at"]).total_seconds() < 180
    blind = since(house.database, 60)
    assert blind is not None
    assert (blind.words[:18], blind.is_decided) == ("we were away from ", False)


def test_a_restart_is_no_outage(house: House) -> None:
    wait_until(seen(house))
    house.web.stop()
    house.web.start()
    wait_until(seen(house))
    assert periods(house.database) == []


def test_a_callback_that_was_answered_503_makes_a_period(build: Build, sandbox: Sandbox) -> None:
    house = build(SPOOL="off")
    body = sandbox.compose(Session("account-1", "v3:call-1", "sid-1"), "siprec-started", None, None)
    url = f"{house.web.url}/callbacks/siprec"
    with locked(house.database):
        answer = requests.post(url, data=body, headers=sandbox.sign(body), timeout=10)
    assert answer.status_code == 503
    wait_until(lambda: len(periods(house.database)) >= 1)
    found = periods(house.database)[0]
    assert found["why"] == "refused"
    blind = since(house.database, 60)
    assert blind is not None
    assert blind.words.startswith(f"host {found['host']} answered 503 from ")
    assert rows(house.database) == []  # it has no spool


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Nobody else writes meanwhile."""
    with database.begin() as db:
        if not database.is_sqlite:
            db.execute(text("LOCK TABLE session, callback IN ACCESS EXCLUSIVE MODE"))
        yield


def beats(heartbeat: Heartbeat) -> bool:
    """Whether the database took it in time, which a busy machine may not."""
    try:
        heartbeat.beat(now())
    except DatabaseUnavailable:
        return False
    return True


def test_what_waits_on_the_disk_of_a_host_that_is_killed_is_in_its_row(
    database: Database, tmp_path: Path
) -> None:
    """And its clean end with something in it keeps the row."""
    desk = Desk(database, tmp_path / "spool")
    desk.backlog.check()
    heartbeat = Heartbeat(desk.database, desk.backlog, Missed(), Answered())
    desk.backlog.save(desk.callbacks(3))
    wait_until(lambda: beats(heartbeat))
    assert [(row["entries"], row["waiting_since"]) for row in rows(desk.database)] == [
        (3, rows(desk.database)[0]["seen_at"])
    ]
    desk.backlog.close()
    heartbeat.end()
    assert [row["entries"] for row in rows(desk.database)] == [3]


def test_the_clean_end_of_a_host_with_dead_letters_keeps_its_row(database: Database, tmp_path: Path) -> None:
    """Or callbacks that were answered 200 would be in no place that is known."""
    desk = Desk(database, tmp_path / "spool")
    desk.backlog.check()
    Spool(tmp_path / "spool", 1_000_000).add_dead_letter([b"what the database never takes"])
    heartbeat = Heartbeat(desk.database, desk.backlog, Missed(), Answered())
    wait_until(lambda: beats(heartbeat))
    desk.backlog.close()
    heartbeat.end()
    assert [(row["entries"], row["dead_letters"]) for row in rows(desk.database)] == [(0, 1)]


def test_without_database_and_spool_there_is_a_period_though_no_callback_comes(database: Database) -> None:
    missed = Missed()
    heartbeat = Heartbeat(database, Desk(database, None).backlog, missed, Answered())
    lose(database, "a test")
    heartbeat.run_once(now())
    wait_until(lambda: beats(heartbeat))
    assert [found["why"] for found in periods(database)] == ["refused"]


def test_refusals_that_follow_each_other_are_one_period() -> None:
    times = iter((100, 110, 120, 133, 134, 136))
    missed = Missed(lambda: next(times))
    for _ in range(5):
        missed.count()
    assert [(one.began, one.ended) for one in missed.unsaved()] == [(100, 120), (133, 134)]
    missed.saved(missed.unsaved())
    assert missed.unsaved() == ()
    missed.count()
    assert [(one.began, one.ended) for one in missed.unsaved()] == [(133, 136)]
