"""An error is named by what its caller can do about it, and opens the breaker if others will meet it too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy import Connection, text

from service.store import keys, sqlite
from service.store.engine import (
    Database,
    DatabaseConflict,
    DatabaseError,
    DatabaseUnavailable,
    DatabaseUnready,
    RecordRefused,
    driver,
)
from service.store.errors import Outage, describe
from tests.house import wait_until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def raises(state: str) -> str:
    """A statement that PostgreSQL answers with this SQLSTATE."""
    return f"DO $$ BEGIN RAISE EXCEPTION 'told to' USING ERRCODE = '{state}'; END $$"


def run(database: Database, statement: str, *, deadline: float | None = None) -> None:
    with database.begin(deadline) as db:
        db.exec_driver_sql(statement)


RECORD = ["22021", "22P02", "23505", "23514", "54000", "54001"]
CONFLICTS = ["40001", "40P01", "55P03"]
UNREADY = ["25006", "0A000", "42P01", "42703", "42501", "53100", "53200"]
UNAVAILABLE = ["57014", "55000", "XX000"]


@pytest.mark.parametrize("database_kind", ["postgresql"])
@pytest.mark.parametrize(
    ("state", "kind", "takes_writes"),
    [
        *((state, RecordRefused, True) for state in RECORD),
        *((state, DatabaseConflict, True) for state in CONFLICTS),
        *((state, DatabaseUnready, False) for state in UNREADY),
        *((state, DatabaseUnavailable, False) for state in UNAVAILABLE),
        ("25P03", DatabaseUnavailable, True),  # we were too slow, not the database
    ],
)
def test_what_postgresql_says_to_a_writer(
    database: Database, state: str, kind: type[DatabaseError], takes_writes: bool
) -> None:
    with pytest.raises(DatabaseError) as caught:
        run(database, raises(state))
    assert type(caught.value) is kind
    assert database.breaker.takes_writes == takes_writes
    assert database.breaker.answers


@pytest.mark.parametrize("database_kind", ["postgresql"])
@pytest.mark.parametrize("state", ["57014", "42501", "42P01"])
def test_what_a_reader_is_refused_others_may_get(database: Database, state: str) -> None:
    with pytest.raises(DatabaseUnavailable), database.read() as db:
        db.exec_driver_sql(raises(state))
    assert (database.breaker.answers, database.breaker.takes_writes) == (True, True)


@pytest.mark.parametrize("database_kind", ["postgresql"])
@pytest.mark.parametrize("state", ["57P01", "57P03", "08006"])
def test_a_server_that_shuts_down_answers_nobody(database: Database, state: str) -> None:
    with pytest.raises(DatabaseUnavailable), database.read() as db:
        db.exec_driver_sql(raises(state))
    assert (database.breaker.answers, database.breaker.takes_writes) == (False, False)


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize(
    ("statement", "kind", "takes_writes"),
    [
        ("INSERT INTO api_key (id) VALUES ('x')", RecordRefused, True),
        ("INSERT INTO strict VALUES ('no number')", RecordRefused, True),
        ("INSERT INTO strict VALUES (zeroblob(2000000000))", RecordRefused, True),
        ("INSERT INTO nowhere VALUES (1)", DatabaseUnready, False),
        ("INSERT INTO strict (nothing) VALUES (1)", DatabaseUnready, False),
    ],
)
def test_what_sqlite_says_to_a_writer(
    database: Database, statement: str, kind: type[DatabaseError], takes_writes: bool
) -> None:
    run(database, "CREATE TABLE strict (n INTEGER) STRICT")
    with pytest.raises(DatabaseError) as caught:
        run(database, statement)
    assert type(caught.value) is kind
    assert database.breaker.takes_writes == takes_writes


NUL_IN_TEXT: dict[str, Callable[[Connection], object]] = {
    "SQLAlchemy's": lambda db: db.execute(text("SELECT CAST(:x AS text)"), {"x": "a\0b"}),
    "the driver's": lambda db: driver(db).execute("SELECT %s", ["a\0b"]),
}


@pytest.mark.parametrize("database_kind", ["postgresql"])
@pytest.mark.parametrize("way", NUL_IN_TEXT)
def test_what_the_driver_cannot_send_is_the_record_s_fault(database: Database, way: str) -> None:
    with pytest.raises(RecordRefused), database.begin() as db:
        NUL_IN_TEXT[way](db)
    assert database.breaker.takes_writes


def test_while_it_takes_no_writes_a_writer_is_told_at_once_and_readers_read(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        run(database, "INSERT INTO nowhere VALUES (1)")
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(DatabaseUnavailable):
            run(database, "SELECT 1")
        with pytest.raises(DatabaseUnavailable), database.ingest(began + 5):
            pass
    with database.read() as db:
        assert db.scalar(text("SELECT 1")) == 1
    assert time.monotonic() - began < 1


def test_a_probe_s_write_lets_all_write_again(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        run(database, "INSERT INTO nowhere VALUES (1)")
    with database.begin(time.monotonic() + 5, is_probe=True) as db:
        keys.create(db, "probe", NOW)
    run(database, "SELECT 1")
    assert database.breaker.answers


def test_a_read_does_not_let_anybody_write_again(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        run(database, "INSERT INTO nowhere VALUES (1)")
    with database.read() as db:
        keys.listed(db)
    assert not database.breaker.takes_writes


def test_a_transaction_begun_before_the_database_was_lost_is_not_committed(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        write_and_lose(database)
    with database.read() as db:
        assert keys.listed(db) == []


def write_and_lose(database: Database) -> None:
    with database.begin() as db:
        keys.create(db, "early", NOW)
        database.breaker.failed(Outage.WRITES, "meanwhile")


def test_an_error_is_described_in_one_short_line() -> None:
    assert describe(ValueError("a\nb")) == "ValueError: a"
    assert len(describe(ValueError("x" * 1000))) == 200


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_row_that_somebody_holds_is_a_conflict_whatever_the_deadline(database: Database) -> None:
    with database.begin() as db:
        keys.create(db, "held", NOW)
    with database.begin() as holder:
        holder.execute(text("UPDATE api_key SET created_at = now()"))
        for seconds in (0.2, 0.5, 0.8, 3):
            with pytest.raises(DatabaseConflict):
                run(database, "UPDATE api_key SET created_at = now()", deadline=time.monotonic() + seconds)
        with pytest.raises(DatabaseConflict):
            run(database, "UPDATE api_key SET created_at = now()")
    assert database.breaker.takes_writes


def test_who_asks_an_open_breaker_gets_no_connection(database: Database) -> None:
    database.breaker.failed(Outage.WRITES, "a test")
    with database.read() as db:
        assert db.scalar(text("SELECT 1")) == 1
    with pytest.raises(DatabaseUnavailable), database.begin():
        pytest.fail("it began")
    database.breaker.failed(Outage.ALL, "a test")
    with pytest.raises(DatabaseUnavailable), database.read():
        pytest.fail("it began")


def test_who_began_before_it_opened_does_not_commit(database: Database) -> None:
    def write() -> None:
        with database.begin() as db:
            keys.create(db, "an app", NOW)
            opening = partial(database.breaker.failed, Outage.WRITES, "a test")
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
    assert database.breaker.answers
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
            assert time.monotonic() - began < sqlite.BUSY_SECONDS + 3
            with pytest.raises(DatabaseError), database.begin(time.monotonic() + 0.2):
                pytest.fail("it began")
    assert time.monotonic() - began > sqlite.BUSY_SECONDS
    other.close()


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_read_that_takes_for_ever_is_ended_and_is_no_outage(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "STATEMENT_SECONDS", 0.3)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(DatabaseUnavailable), database.read() as db:
        db.execute(text(endless))
    assert (database.breaker.takes_writes, database.breaker.answers) == (True, True)
