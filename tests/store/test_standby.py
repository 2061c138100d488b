"""A primary and its standby: what is written goes to the primary that is, and nothing waits for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import select

from service.store import keys
from service.store.engine import Database, DatabaseUnavailable, driver, make_durable, server_of
from service.store.postgresql import PostgresqlConnection
from service.store.tables import api_key
from tests.bed.address import Address
from tests.bed.pair import Pair
from tests.bed.postgres import Postgres
from tests.house import migrate, wait_until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECONDS = 0.8
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

synchronous = pytest.mark.parametrize("is_synchronous", [True], ids=["synchronous"])
asynchronous = pytest.mark.parametrize("is_synchronous", [False], ids=["asynchronous"])


@pytest.fixture
def url(pair: Pair) -> str:
    return migrate(pair.create_database())


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    write(opened, "before")
    yield opened
    opened.close()


def write(database: Database, name: str, *, is_probe: bool = False) -> None:
    with database.begin(time.monotonic() + SECONDS, is_probe=is_probe) as db:
        keys.create(db, name, NOW)


def ingest(database: Database, name: str) -> None:
    with database.ingest(time.monotonic() + SECONDS) as db:
        insert = "INSERT INTO api_key (id, name, created_at) VALUES (%s, %s, now())"
        driver(db).execute(insert, [name, name])


def probe(database: Database) -> bool:
    """Whether the database takes writes, after one more try if that is due."""
    with database.breaker.probe() as may_try, suppress(DatabaseUnavailable):
        if may_try:
            write(database, f"probe {time.monotonic_ns()}", is_probe=True)
    return database.breaker.takes_writes


def wait_until_it_takes_writes(database: Database) -> None:
    wait_until(lambda: probe(database), 10)


def names(database: Database) -> set[str]:
    with database.read() as db:
        names = db.scalars(select(api_key.c.name)).all()
        return {name for name in names if not name.startswith("probe")}


def names_on(server: Postgres, pair: Pair, url: str) -> set[str]:
    with psycopg.connect(pair.on(server, url)) as db:
        return {row[0] for row in db.execute("SELECT name FROM api_key")}


def count_waiting(pair: Pair) -> int:
    with psycopg.connect(pair.primary.url) as db:
        row = db.execute(WAITING).fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@asynchronous
def test_on_an_address_that_leads_to_a_standby_reads_work_and_writes_wait(
    pair: Pair, database: Database, url: str
) -> None:
    pair.wait_until_caught_up()
    pair.lead_to(pair.standby, cut=False)
    database = Database(url)
    for failing in (write, ingest, write):
        with pytest.raises(DatabaseUnavailable):
            failing(database, "to a standby")
        assert names(database) == {"before"}
        assert (database.breaker.answers, database.breaker.takes_writes) == (True, False)
        with suppress(DatabaseUnavailable):
            write(database, "to a standby", is_probe=True)
    pair.lead_to(pair.primary, cut=False)
    wait_until_it_takes_writes(database)
    for number in range(20):  # also on what was connected while there was only the standby
        write(database, f"after {number}")
        ingest(database, f"ingested {number}")
    assert len(names(database)) == 1 + 40
    database.close()


@asynchronous
def test_connections_that_break_are_made_anew(pair: Pair, database: Database) -> None:
    for doing in (write, ingest):
        doing(database, f"{doing.__name__} 1")
        pair.address.cut()
        time.sleep(0.1)  # until we could have heard of it
        doing(database, f"{doing.__name__} 2")  # nothing was begun on what broke
    names(database)
    pair.address.cut()
    time.sleep(0.1)
    assert len(names(database)) == 1 + 4


@synchronous
def test_without_its_standby_nothing_is_committed_and_no_backend_stays_behind(
    pair: Pair, database: Database
) -> None:
    ingest(database, "ingested")
    pair.standby.kill()
    for failing in (ingest, write, ingest):
        database.breaker._close()  # as if nobody had noticed yet
        with within(SECONDS + 1), pytest.raises(DatabaseUnavailable):
            failing(database, f"unconfirmed {time.monotonic_ns()}")
        assert (database.breaker.answers, database.breaker.takes_writes) == (True, False)
        assert count_waiting(pair) == 0
    began, most = time.monotonic(), 0
    while time.monotonic() < began + 5:
        assert not probe(database)
        most = max(most, count_waiting(pair))
        time.sleep(0.05)
    assert most == 0
    pair.standby.start()
    with within(5):
        wait_until_it_takes_writes(database)
    write(database, "after")


@synchronous
def test_where_no_cancel_comes_through_two_backends_at_most_stay_behind(
    pair: Pair, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_cancel(_connection: object, *, timeout: float) -> None:
        raise psycopg.OperationalError(f"not in {timeout} s")

    monkeypatch.setattr(PostgresqlConnection, "cancel_safe", lose_cancel)
    pair.standby.kill()
    waiting: list[int] = []
    began = time.monotonic()
    while time.monotonic() < began + 8:
        assert not probe(database) or not waiting
        with suppress(DatabaseUnavailable):
            ingest(database, f"unconfirmed {time.monotonic_ns()}")
        waiting.append(count_waiting(pair))
        time.sleep(0.05)
    assert max(waiting) <= 2


@synchronous
def test_what_others_committed_is_durable_once_the_standby_has_it(pair: Pair, database: Database) -> None:
    pair.standby.kill()
    with pytest.raises(DatabaseUnavailable):
        write(database, "seen by all, and not on the standby")
    assert "seen by all, and not on the standby" in names(database)

    def find_it_there() -> None:
        with database.begin(time.monotonic() + SECONDS, is_probe=True) as db:
            keys.listed(db)  # and nothing to be written

    with pytest.raises(DatabaseUnavailable):
        find_it_there()
    pair.standby.start()
    wait_until_it_takes_writes(database)
    with database.begin() as db:
        make_durable(db)


@synchronous
def test_a_commit_that_waits_for_the_standby_closes_the_breaker_when_it_comes(
    pair: Pair, database: Database
) -> None:
    pair.standby.freeze()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(write_slowly, database)
        wait_until(lambda: count_waiting(pair) == 1, 5)
        database.breaker.stalled()
        assert not database.breaker.takes_writes
        with database.breaker.probe() as may_try:
            assert not may_try
        pair.standby.thaw()
        slow.result()
    assert database.breaker.takes_writes


def write_slowly(database: Database) -> None:
    with database.begin() as db:
        keys.create(db, "slow", NOW)


@asynchronous
def test_a_frozen_primary_that_wakes_up_again_gets_nothing_more(
    pair: Pair, database: Database, url: str
) -> None:
    for purpose in (write, ingest):
        purpose(database, f"by {purpose.__name__}")
    old_server = database.current_server()
    pair.wait_until_caught_up()
    frozen = pair.primary

    def write_meanwhile() -> None:
        with database.begin(time.monotonic() + 30) as db:
            keys.create(db, "held", NOW)
            frozen.freeze()
            with within(SECONDS + 1.5), pytest.raises(DatabaseUnavailable):
                ingest(database, "to the frozen one")
            assert not database.breaker.answers
            pair.fail_over(cut=False)
            frozen.thaw()
            wait_until_it_takes_writes(database)

    with pytest.raises(DatabaseUnavailable, match="lost before the commit"):
        write_meanwhile()
    for number in range(10):
        write(database, f"after {number}")
        ingest(database, f"ingested {number}")
    assert {f"after {n}" for n in range(10)} < names_on(pair.primary, pair, url)
    assert not {
        name for name in names_on(frozen, pair, url) if name.startswith(("after", "ingested", "held"))
    }
    new_server = database.current_server()
    assert old_server is not None
    assert new_server is not None
    assert (old_server.system, old_server.timeline) == (new_server.system, 1)
    assert new_server.timeline == 2
    with database.begin() as db:
        assert server_of(db) == new_server


@asynchronous
def test_an_old_primary_is_left_at_once_by_who_has_seen_a_newer_one(pair: Pair, database: Database) -> None:
    pair.wait_until_caught_up()
    pair.fail_over()
    wait_until_it_takes_writes(lose(database))
    assert pair.old is not None
    pair.lead_to(pair.old, cut=True)
    database.breaker._close()
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable, match=r"timeline|lost|closed"):
            write(database, "to the old one", is_probe=True)
    with pytest.raises(DatabaseUnavailable, match="timeline"):
        database.current_server()


def lose(database: Database) -> Database:
    """Its connections were cut."""
    with suppress(DatabaseUnavailable):
        write(database, "cut")
    return database


@asynchronous
def test_of_several_hosts_the_primary_is_found_also_after_a_failover(pair: Pair, url: str) -> None:
    with Address(pair.standby.socket) as other:
        name = url.rsplit("/", 1)[1]
        several = f"postgresql://postgres@127.0.0.1:{other.port},127.0.0.1:{pair.address.port}/{name}"
        database = Database(several)
        write(database, "before")
        ingest(database, "ingested")
        pair.wait_until_caught_up()
        pair.primary.freeze()
        with pytest.raises(DatabaseUnavailable):
            ingest(database, "to the frozen one")
        pair.standby.promote()
        with within(6):
            wait_until_it_takes_writes(database)
        write(database, "after")
        assert {"before", "ingested", "after"} <= names(database)
        database.close()
        pair.primary.thaw()
