"""What writes callbacks has a connection of its own: kept, bounded by its deadline, good after an error."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, text

from service.store import database_kinds, keys
from service.store.batch import Batch
from service.store.engine import (
    Database,
    DatabaseConflict,
    DatabaseUnavailable,
    IngestConnection,
    RecordRefused,
    driver,
    is_postgresql,
    make_durable,
    server_of,
)
from service.store.lookup import Lookup, looked_up_at_once
from service.store.tables import api_key
from tests.bed.address import Address
from tests.bed.postgres import Postgres

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEYS = Lookup(api_key, ("id", "name"), by="id", order=("id",), locks=True)


def add(db: IngestConnection, *ids: str) -> None:
    batch = Batch(db)
    batch.add(api_key, [{"id": id, "name": id, "created_at": NOW} for id in ids])
    batch.write()


def ingest(database: Database, *ids: str, seconds: float = 2) -> list[str]:
    """Returns which of them were there."""
    with database.ingest(time.monotonic() + seconds) as db:
        with looked_up_at_once(db):
            found, others = KEYS(db, ids), KEYS(db, [*ids, "others"])
        there = [row["id"] for row in found]
        assert [row["id"] for row in others] == there
        add(db, *sorted(set(ids) - set(there)))
    return there


def backend(database: Database) -> Any:
    with database.ingest(time.monotonic() + 2) as db:
        return driver(db)


def test_what_is_written_is_there_for_all(database: Database) -> None:
    assert ingest(database, "1", "2") == []
    assert ingest(database, "2", "3") == ["2"]
    with database.read() as db:
        assert sorted(db.scalars(select(api_key.c.name))) == ["1", "2", "3"]


def test_the_connection_is_kept_and_is_of_the_kind_that_it_says(database: Database) -> None:
    first = backend(database)
    assert backend(database) is first
    with database.ingest(time.monotonic() + 2) as db, database.read() as other:
        assert is_postgresql(db) == is_postgresql(other) == (not database.is_sqlite)
        assert (server_of(db) is None) == database.is_sqlite
        assert server_of(db) == server_of(other) == database.current_server()
        make_durable(db)


def test_a_record_at_fault_undoes_its_batch_and_the_next_one_is_written(database: Database) -> None:
    with pytest.raises(RecordRefused), database.ingest(time.monotonic() + 2) as db:
        add(db, "1", "1")
    assert ingest(database, "1") == []


def test_what_breaks_inside_undoes_it_all_and_passes_through(database: Database) -> None:
    def break_down() -> None:
        with database.ingest(time.monotonic() + 2) as db:
            add(db, "1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_down()
    assert ingest(database, "1") == []


def test_a_lost_database_is_neither_committed_to_nor_asked_again_on_the_same_connection(
    database: Database,
) -> None:
    def lose(db: IngestConnection) -> None:
        add(db, "lost")
        with pytest.raises(DatabaseUnavailable), database.begin() as other:
            other.execute(text("INSERT INTO nowhere VALUES (1)"))

    first = backend(database)
    if database.is_sqlite:  # one writer at a time: it can only be lost in between
        with pytest.raises(DatabaseUnavailable), database.begin() as db:
            db.execute(text("INSERT INTO nowhere VALUES (1)"))
    else:
        with pytest.raises(DatabaseUnavailable), database.ingest(time.monotonic() + 2) as ingesting:
            lose(ingesting)
    with database.ingest(time.monotonic() + 2, is_probe=True) as probing:
        assert driver(probing) is not first
    assert ingest(database, "lost") == []


def test_one_at_a_time(database: Database) -> None:
    with database.ingest(time.monotonic() + 2), ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        with pytest.raises(DatabaseConflict):
            pool.submit(ingest, database, "1", seconds=0.3).result()
        assert time.monotonic() - began < 1
    assert database.breaker.takes_writes


@pytest.fixture
def address(postgres: Postgres) -> Any:
    with Address(postgres.socket) as made:
        yield made


@pytest.fixture
def remote(address: Address, postgres: Postgres, postgres_template: str) -> Any:
    url = postgres.create_database(template=postgres_template)
    database = Database(
        f"postgresql://postgres@127.0.0.1:{address.port}/{url.partition('?')[0].rpartition('/')[2]}"
    )
    yield database
    database.close()
    postgres.drop_database(url)


def write(database: Database, id: str, seconds: float) -> None:
    with database.begin(time.monotonic() + seconds, is_probe=True) as db:
        keys.create(db, id, NOW)


def ingest_as_probe(database: Database, id: str, seconds: float) -> None:
    with database.ingest(time.monotonic() + seconds, is_probe=True) as db:
        add(db, id)


@pytest.mark.parametrize("way", [write, ingest_as_probe])
def test_connecting_takes_no_longer_than_the_deadline(
    address: Address, remote: Database, way: Callable[[Database, str, float], None]
) -> None:
    with address.hanging():
        for seconds in (0.3, 0.8):
            began = time.monotonic()
            with pytest.raises(DatabaseUnavailable):
                way(remote, "1", seconds)
            assert time.monotonic() - began < seconds + 0.4
            assert not remote.breaker.answers
    way(remote, "2", 5)
    assert remote.breaker.takes_writes


@pytest.mark.parametrize("way", [write, ingest_as_probe])
def test_who_always_connects_too_slowly_connects_in_the_end(
    address: Address,
    remote: Database,
    monkeypatch: pytest.MonkeyPatch,
    way: Callable[[Database, str, float], None],
) -> None:
    connect = remote._kind.connect

    def connect_slowly(**options: bool) -> Any:
        time.sleep(0.5)
        return connect(**options)

    monkeypatch.setattr(remote._kind, "connect", connect_slowly)
    for attempt in range(3):
        try:
            way(remote, str(attempt), 0.4)
        except DatabaseUnavailable:
            time.sleep(0.3)
    assert remote.breaker.takes_writes


@pytest.mark.parametrize("way", [write, ingest_as_probe])
def test_a_statement_that_gets_no_answer_takes_little_longer_than_its_deadline(
    address: Address, remote: Database, way: Callable[[Database, str, float], None]
) -> None:
    way(remote, "1", 2)
    with address.hanging():
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            way(remote, "2", 0.5)
        assert time.monotonic() - began < 1.2
    assert not remote.breaker.answers
    way(remote, "3", 5)


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_who_stops_in_the_midst_of_a_batch_loses_its_locks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {**database_kinds.INGEST_LIMITS, "transaction_timeout": "500ms"}
    monkeypatch.setattr(database_kinds, "INGEST_LIMITS", limits)
    ingest(database, "1")
    with (
        ThreadPoolExecutor(1) as another,
        suppress(DatabaseUnavailable),
        database.ingest(time.monotonic() + 5) as db,
    ):
        assert [row["id"] for row in KEYS(db, ["1"])] == ["1"]
        assert another.submit(_lock, database).exception() is None


def _lock(database: Database) -> None:
    with database.begin() as db:  # it waits for 3 s
        db.execute(text("SELECT id FROM api_key WHERE id = '1' FOR UPDATE"))
