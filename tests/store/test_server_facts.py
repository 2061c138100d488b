"""PostgreSQL says the same of itself to a role that may see little."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from service.store import server_facts
from service.store.engine import Database
from tests.bed.postgres import Postgres, for_psycopg

ROLE = "sees_little"


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    made = postgres.create_database()
    with psycopg.connect(for_psycopg(postgres.url), autocommit=True) as db:
        db.execute(f"CREATE ROLE {ROLE} LOGIN CONNECTION LIMIT 7")
    yield made
    postgres.drop_database(made)
    with psycopg.connect(for_psycopg(postgres.url), autocommit=True) as db:
        db.execute(f"DROP ROLE {ROLE}")


def test_a_roles_own_limit_counts_and_others_are_counted(postgres: Postgres, url: str) -> None:
    as_role = re.sub(r"://[^/@]*@", f"://{ROLE}@", url)
    with (
        closing(Database(as_role)) as database,
        psycopg.connect(for_psycopg(postgres.url)),
        psycopg.connect(for_psycopg(postgres.url)),
        database.read() as db,
    ):
        found = server_facts.capacity(db)
        durability = server_facts.durability(db)
    assert found.limit == 7
    assert found.others >= 2
    assert (durability.syncs, durability.writes_full_pages) == (True, True)
    assert (durability.synchronous_commit, durability.standby_names) == ("on", "")
    assert (durability.standbys, durability.synchronous, durability.unknown) == (0, 0, 0)
