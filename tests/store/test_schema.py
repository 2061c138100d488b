"""A database without our schema is refused by name; one that cannot be reached is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from service.store import schema
from service.store.engine import Database, DatabaseUnusable
from tests.bed.postgres import Postgres


@pytest.fixture
def empty(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    server: Postgres | None = None
    url = f"sqlite:///{tmp_path}/empty.sqlite3"
    if database_kind == "postgresql":
        server = request.getfixturevalue("postgres")
        url = server.create_database()
    database = Database(url)
    yield database
    database.close()
    if server is not None:
        server.drop_database(url)


def set_version(database: Database, version: str) -> None:
    with database.begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})


def test_a_missing_schema_is_refused_after_a_while(empty: Database) -> None:
    began = time.monotonic()
    with pytest.raises(DatabaseUnusable, match="schema is missing: run siprec-ledger db upgrade"):
        schema.check(empty, wait_seconds=0.5)
    assert 0.5 <= time.monotonic() - began < 3


def test_a_migration_that_runs_meanwhile_is_waited_for(empty: Database) -> None:
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(schema.check, empty)
        time.sleep(0.5)
        schema.upgrade(empty)
        checked.result()


@pytest.mark.parametrize("version", ["current", "9999"])
def test_a_schema_that_is_ours_or_newer_is_taken(database: Database, version: str) -> None:
    if version != "current":
        set_version(database, version)
    schema.check(database)


def test_a_database_of_0_1_is_refused_at_once_and_not_migrated(database: Database) -> None:
    set_version(database, "0001")
    began = time.monotonic()
    for doing in (schema.check, schema.upgrade):
        with pytest.raises(DatabaseUnusable, match=r"version 0\.1"):
            doing(database)
    assert time.monotonic() - began < 5


def test_one_that_cannot_be_reached_may_come_later() -> None:
    database = Database("postgresql://127.0.0.1:9/ledger")
    schema.check(database)
    assert not database.breaker.answers
