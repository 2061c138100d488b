"""Behind PgBouncer in transaction mode: limits hold, and no statement is another client's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import select, text

from service.store import keys
from service.store.batch import Batch
from service.store.engine import (
    Database,
    DatabaseConflict,
    DatabaseUnavailable,
    DatabaseUnusable,
    driver,
    server_of,
)
from service.store.lookup import Lookup, looked_up_at_once
from service.store.tables import api_key
from tests.bed.pgbouncer import PgBouncer
from tests.bed.postgres import Postgres

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEYS = Lookup(api_key, ("id", "name"), by="id", order=("id",), locks=True)
IGNORING = {"ignore_startup_parameters": "options,extra_float_digits"}


@pytest.fixture(params=[{}, IGNORING], ids=["options refused", "options ignored"])
def any_pooler(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[PgBouncer]:
    with PgBouncer(postgres, default_pool_size="4", **request.param) as pooler:
        yield pooler


@pytest.fixture
def url(postgres: Postgres, postgres_template: str) -> Iterator[str]:
    made = postgres.create_database(template=postgres_template)
    yield made
    postgres.drop_database(made)


@pytest.fixture
def database(any_pooler: PgBouncer, url: str) -> Iterator[Database]:
    with closing(Database(any_pooler.in_front_of(url))) as opened:
        yield opened


def ingest(database: Database, id: str) -> None:
    with database.ingest(time.monotonic() + 5) as db:
        with looked_up_at_once(db):
            found, others = KEYS(db, [id]), KEYS(db, ["others"])
        assert (list(found), list(others)) == ([], [])
        batch = Batch(db)
        batch.add(api_key, [{"id": id, "name": id, "created_at": NOW}])
        batch.write()


def test_it_is_found_to_be_there_and_safe(database: Database) -> None:
    database.check()
    with database.read() as db:
        assert driver(db).is_pooled


def test_without_one_nothing_is_done_for_it(url: str) -> None:
    with closing(Database(url)) as database, database.read() as db:
        assert not driver(db).is_pooled
        assert driver(db).prepare_threshold is not None


def test_limits_hold_in_every_transaction_and_leak_to_nobody(
    database: Database, any_pooler: PgBouncer, url: str
) -> None:
    limits = "SELECT current_setting('lock_timeout'), current_setting('enable_seqscan')"
    ways = {"ordinary": ("3s", "on"), "ingest": ("500ms", "off")}
    for _ in range(3):
        with database.read() as db:
            assert tuple(db.execute(text(limits)).one()) == ways["ordinary"]
        with database.begin() as db:
            assert tuple(db.execute(text(limits)).one()) == ways["ordinary"]
        with database.begin(time.monotonic() + 5) as db:
            assert tuple(db.execute(text(limits)).one()) == ways["ingest"]
        with database.ingest(time.monotonic() + 5) as ingesting:
            assert driver(ingesting).execute(limits).fetchone() == ways["ingest"]
    with closing(Database(any_pooler.in_front_of(url))) as other, other.untimed() as db:
        assert tuple(db.execute(text(limits)).one()) == ("0", "on")


def test_a_lock_of_somebody_else_is_a_conflict_here_too(database: Database) -> None:
    ingest(database, "1")
    with database.begin() as holder:
        holder.execute(text("UPDATE api_key SET name = 'held'"))
        with pytest.raises(DatabaseConflict), database.ingest(time.monotonic() + 5) as db:
            list(KEYS(db, ["1"]))
    assert database.breaker.takes_writes


def test_it_knows_the_server_behind(database: Database, url: str) -> None:
    with closing(Database(url)) as direct:
        expected = direct.current_server()
    assert expected is not None
    assert database.current_server() == expected
    with database.begin() as db:
        assert server_of(db) == expected
    with database.ingest(time.monotonic() + 5) as ingesting:
        assert server_of(ingesting) == expected


ROUNDS, AT_ONCE = 40, 4


def test_forty_rounds_of_four_processes_worth_of_clients_meet_no_error(
    any_pooler: PgBouncer, url: str
) -> None:
    """More clients than servers, and all statements often enough to be prepared, if anything were."""
    databases = [Database(any_pooler.in_front_of(url)) for _ in range(AT_ONCE)]

    def live(database: Database) -> list[str]:
        written = []
        for _ in range(ROUNDS):
            with database.begin() as db:
                secret = keys.create(db, uuid4().hex, NOW)
            with database.read() as db:
                found = keys.recognise(db, secret, NOW)
            assert found is not None
            with database.begin() as db:
                assert keys.revoke(db, found.name, NOW)
            written.append(uuid4().hex)
            ingest(database, written[-1])
        return written

    with ThreadPoolExecutor(2 * AT_ONCE) as threads:
        written = {id for ids in threads.map(live, databases) for id in ids}
    with databases[0].read() as db:
        assert written <= set(db.scalars(select(api_key.c.id)))
    assert all(database.breaker.epoch == 0 for database in databases)
    for database in databases:
        database.close()


def test_a_pooler_that_keeps_no_transaction_is_refused_by_name(postgres: Postgres, url: str) -> None:
    with (
        PgBouncer(postgres, pool_mode="statement") as pooler,
        closing(Database(pooler.in_front_of(url))) as database,
        pytest.raises(DatabaseUnusable, match="set pool_mode = transaction"),
    ):
        database.check()


def test_a_pooler_that_ends_is_a_database_that_is_unavailable(postgres: Postgres, url: str) -> None:
    with PgBouncer(postgres) as pooler, closing(Database(pooler.in_front_of(url))) as database:
        ingest(database, "1")
        pooler._process.kill()
        pooler._process.wait()
        with pytest.raises(DatabaseUnavailable):
            ingest(database, "2")
        assert not database.breaker.answers
