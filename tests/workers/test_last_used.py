"""When each secret was used last is written once in a while, and stops nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url, select, text

from service.store import keys
from service.store.engine import Database, DatabaseUnavailable
from service.store.errors import Outage
from service.store.keys import Secret
from service.store.tables import api_key_secret
from service.workers.last_used import LastUsed
from tests.ledger.lines import NOON

postgresql = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
ROLE = f"role_{uuid4().hex}"


def minutes(count: int) -> datetime:
    return NOON + timedelta(minutes=count)


@pytest.fixture
def secret(database: Database) -> str:
    """Its id."""
    with database.begin() as db:
        keys.create(db, "app", NOON)
    return secrets(database)[0].id


def secrets(database: Database) -> tuple[Secret, ...]:
    with database.read() as db:
        found = keys.named(db, "app")
    assert found
    return found.secrets


def last(database: Database) -> datetime | None:
    with database.read() as db:
        found = keys.named(db, "app")
    assert found
    return found.last_used_at


def test_a_use_is_written_when_it_is_time_and_not_before(database: Database, secret: str) -> None:
    last_used = LastUsed(database)
    last_used.use(secret, minutes(1))
    assert last(database) is None
    last_used.run_once(NOON)
    assert last(database) == minutes(1)


def test_a_key_was_used_when_one_of_its_secrets_was(database: Database, secret: str) -> None:
    with database.begin() as db:
        found = keys.named(db, "app", locks=True)
        assert found
        keys.rotate(db, found, NOON)
    other = secrets(database)[1].id
    last_used = LastUsed(database)
    for id, at in ((secret, minutes(2)), (other, minutes(1))):
        last_used.use(id, at)
    last_used.run_once(NOON)
    assert [one.last_used_at for one in secrets(database)] == [minutes(2), minutes(1)]
    assert last(database) == minutes(2)


def test_of_several_processes_the_latest_use_stays(database: Database, secret: str) -> None:
    one, other = LastUsed(database), LastUsed(database)
    one.use(secret, minutes(1))
    other.use(secret, minutes(2))
    other.run_once(NOON)
    one.run_once(NOON)
    assert last(database) == minutes(2)
    one.use(secret, minutes(3))
    one.run_once(NOON)
    assert last(database) == minutes(3)


def test_what_is_written_is_not_written_again(database: Database, secret: str) -> None:
    last_used = LastUsed(database)
    last_used.use(secret, minutes(1))
    last_used.run_once(NOON)
    with database.begin() as db:
        db.execute(text("UPDATE api_key_secret SET last_used_at = NULL"))
    last_used.run_once(NOON)
    assert last(database) is None


def test_what_could_not_be_written_is_the_next_time(database: Database, secret: str) -> None:
    last_used = LastUsed(database)
    last_used.use(secret, minutes(1))
    database.breaker.failed(Outage.WRITES, "a test")
    last_used.run_once(NOON)
    last_used.end()
    with database.begin(is_probe=True) as db:  # it is back
        db.execute(text("UPDATE api_key SET name = name"))
    assert last(database) is None
    last_used.run_once(NOON)
    assert last(database) == minutes(1)


def test_the_end_writes_what_is_left(database: Database, secret: str) -> None:
    last_used = LastUsed(database)
    last_used.use(secret, minutes(1))
    last_used.end()
    assert last(database) == minutes(1)


@postgresql
def test_it_waits_for_nobody_who_changes_a_key(database: Database, secret: str) -> None:
    last_used = LastUsed(database)
    last_used.use(secret, minutes(1))
    with database.begin() as db:
        db.execute(select(api_key_secret.c.id).with_for_update())
        last_used.run_once(NOON)
    assert last(database) is None
    last_used.run_once(NOON)
    assert last(database) == minutes(1)


@pytest.fixture
def with_few_grants(database_url: str) -> Iterator[Database]:
    """May read everything, and write no secrets."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {ROLE} LOGIN")
        owner.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ROLE}")
        with closing(Database(make_url(database_url).set(username=ROLE).render_as_string())) as database:
            yield database
        owner.execute(f"DROP OWNED BY {ROLE}")
        owner.execute(f"DROP ROLE {ROLE}")


@postgresql
def test_without_the_grant_for_it_all_else_goes_on(
    database: Database, secret: str, with_few_grants: Database
) -> None:
    last_used = LastUsed(with_few_grants)
    last_used.use(secret, minutes(1))
    with pytest.raises(DatabaseUnavailable, match="permission denied"):
        last_used.run_once(NOON)
    last_used.end()
    assert with_few_grants.breaker.takes_writes
    assert last(database) is None
