"""The database on each kind: one state to a reader, no update lost, and errors in bounded time, by name."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from service.domain.access import ALL_ACCOUNTS
from service.store import keys, pool, postgresql, sessions, sqlite
from service.store.engine import (
    Database,
    DatabaseConflict,
    DatabaseError,
    DatabaseUnavailable,
    RecordRefused,
    driver,
    make_durable,
    server_of,
)
from service.store.json import canonical_json
from tests.bed.postgres import Postgres

CHECKOUT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PROCESSES, THREADS, TIMES = 4, 8, 5


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def names(database: Database) -> list[str]:
    with database.read() as db:
        return [key.name for key in keys.listed(db)]


def write(database: Database, name: str, *, is_probe: bool = False) -> None:
    with database.begin(is_probe=is_probe) as db:
        keys.create(db, name, NOW)


# Transactions


def test_a_reader_sees_one_state_while_others_write(database: Database) -> None:
    write(database, "before")
    with database.read() as db:
        seen = [key.name for key in keys.listed(db)]
        with ThreadPoolExecutor(1) as threads:
            threads.submit(write, database, "meanwhile").result()
        assert [key.name for key in keys.listed(db)] == seen == ["before"]
    assert sorted(names(database)) == ["before", "meanwhile"]


def test_a_writer_s_rows_are_seen_once_they_are_committed(database: Database) -> None:
    with database.begin() as db:
        keys.create(db, "new", NOW)
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(names, database).result() == []
    assert names(database) == ["new"]


def test_what_breaks_inside_undoes_it_all_and_passes_through(database: Database) -> None:
    def break_down() -> None:
        with database.begin() as db:
            keys.create(db, "gone", NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_down()
    assert names(database) == []
    write(database, "next")


COUNT = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
from sqlalchemy import text
from service.store.engine import Database

database = Database(sys.argv[1], connections={THREADS})
lock = "" if database.is_sqlite else " FOR UPDATE"

def count(_):
    for _ in range({TIMES}):
        with database.begin() as db:
            seen = db.scalar(text("SELECT n FROM counter" + lock))
            db.execute(text("UPDATE counter SET n = :n"), {{"n": seen + 1}})

sys.stdin.readline()
with ThreadPoolExecutor({THREADS}) as pool:
    list(pool.map(count, range({THREADS})))
"""


def test_writers_of_many_threads_and_processes_lose_no_update(database: Database, database_url: str) -> None:
    with database.begin() as db:
        db.execute(text("CREATE TABLE counter (n INTEGER)"))
        db.execute(text("INSERT INTO counter VALUES (0)"))
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", COUNT, database_url],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    for program in programs:
        assert program.stdin
        program.stdin.write("go\n")
        program.stdin.flush()
    errors = [program.communicate(timeout=60)[1] for program in programs]
    assert errors == [""] * PROCESSES
    with database.read() as db:
        assert db.scalar(text("SELECT n FROM counter")) == PROCESSES * THREADS * TIMES


# Errors, by name


@pytest.fixture
def empty_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a schema."""
    if database_kind == "sqlite":
        return f"sqlite:///{tmp_path}/empty.sqlite3"
    server: Postgres = request.getfixturevalue("postgres")
    return server.create_database()


def test_a_missing_schema_is_a_database_that_is_unavailable(empty_url: str) -> None:
    database = Database(empty_url)
    try:
        for transaction in (database.read, database.begin):
            with pytest.raises(DatabaseUnavailable), transaction() as db:
                sessions.find(db, "id", ALL_ACCOUNTS)
    finally:
        database.close()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/at/all/ledger.sqlite3",
        "postgresql://postgres@/ledger?host=/nowhere",
        "postgres://127.0.0.1:9/ledger",
        "postgresql://no-such-host.invalid/ledger",
    ],
)
def test_a_database_that_is_not_there_is_unavailable(url: str) -> None:
    database = Database(url)
    for transaction in (database.read, database.begin):
        with within(5), pytest.raises(DatabaseUnavailable), transaction() as db:
            db.execute(text("SELECT 1"))


def test_a_file_that_is_no_database_is_one_that_does_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"not a database" * 100)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnavailable), database.read():
        pass
    assert not database.breaker.answers


WITHOUT_A_NAME = "INSERT INTO api_key (id) VALUES ('x')"
OF_NOBODY = (
    "INSERT INTO session_label (session_id, name, value, requested_at)"
    " VALUES ('nobody', 'x', 'x', '2026-03-01T12:00:00.000000Z')"
)


@pytest.mark.parametrize("statement", [WITHOUT_A_NAME, OF_NOBODY], ids=["not null", "foreign key"])
def test_a_constraint_is_the_record_s_fault(database: Database, statement: str) -> None:
    with pytest.raises(RecordRefused), database.begin() as db:
        db.execute(text(statement))
    assert database.breaker.takes_writes
    write(database, "next")


def test_an_error_s_words_are_one_short_line(database: Database) -> None:
    with pytest.raises(DatabaseError) as caught, database.begin() as db:
        db.execute(text("INSERT INTO api_key (id, name) VALUES (:id, 'x')"), {"id": "secret " * 200})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 200


# Errors, in bounded time


def test_nobody_waits_for_ever_for_a_connection(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "WAIT_SECONDS", 0.3)
    database = Database(database_url, connections=1)
    with database.read() as db:
        db.execute(text("SELECT 1"))
        with ThreadPoolExecutor(1) as threads, within(3), pytest.raises(DatabaseUnavailable):
            threads.submit(names, database).result()
    assert database.breaker.answers
    assert names(database) == []
    database.close()


def test_nobody_waits_for_ever_for_another_process_s_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    database = Database(f"sqlite:///{path}")
    with database.begin() as db:
        db.execute(text("CREATE TABLE counter (n INTEGER)"))
    # Not another SQLite library: two of them in one process do not see each other's locks.
    other: Any = database.engine.dialect.loaded_dbapi.connect(str(path), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseConflict), database.ingest(time.monotonic() + 0.8):
        pass
    database.breaker.check_writes()  # who is busy for a moment is not lost
    with within(3), pytest.raises(DatabaseUnavailable), database.begin():
        pass
    assert not database.breaker.takes_writes
    other.execute("ROLLBACK")
    other.close()
    with database.begin(is_probe=True) as db:
        db.execute(text("INSERT INTO counter VALUES (1)"))
    database.close()


@pytest.fixture
def frozen_at_will(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    if not postgres.is_ours:
        pytest.skip("the server that TEST_DATABASE_URL names is not ours to freeze")
    monkeypatch.setattr(postgresql.PostgresqlConnection, "_answer_seconds", 1.0)
    yield postgres
    postgres.thaw()


@pytest.fixture
def on_postgresql(frozen_at_will: Postgres, postgres_template: str) -> Iterator[Database]:
    url = frozen_at_will.create_database(template=postgres_template)
    database = Database(url)
    write(database, "before")  # so that a connection is kept
    yield database
    frozen_at_will.thaw()
    database.close()
    frozen_at_will.drop_database(url)


@pytest.mark.parametrize("moment", ["before it begins", "in the middle", "before the commit"])
def test_a_server_that_freezes_is_unavailable_in_bounded_time_and_comes_back(
    frozen_at_will: Postgres, on_postgresql: Database, moment: str
) -> None:
    def meet(now: str) -> None:
        if now == moment:
            frozen_at_will.freeze()

    def work() -> None:
        meet("before it begins")
        with on_postgresql.begin() as db:
            db.execute(text("SELECT 1"))
            meet("in the middle")
            keys.create(db, "frozen", NOW)
            meet("before the commit")

    with within(6), pytest.raises(DatabaseUnavailable):
        work()
    with within(6), pytest.raises(DatabaseUnavailable):
        names(on_postgresql)
    frozen_at_will.thaw()
    write(on_postgresql, "after", is_probe=True)
    assert {"before", "after"} <= set(names(on_postgresql))


def test_many_threads_before_a_frozen_server_all_come_back(
    frozen_at_will: Postgres, on_postgresql: Database
) -> None:
    frozen_at_will.freeze()
    ended = []

    def ask() -> None:
        with pytest.raises(DatabaseUnavailable):
            names(on_postgresql)
        ended.append(True)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    with within(12):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(ended) == len(threads)


def test_a_server_that_restarts_is_met_again(frozen_at_will: Postgres, on_postgresql: Database) -> None:
    frozen_at_will.restart()
    write(on_postgresql, "after")
    assert sorted(names(on_postgresql)) == ["after", "before"]


def test_a_migration_may_take_its_time_on_a_connection_that_others_used(on_postgresql: Database) -> None:
    for _ in range(3):
        names(on_postgresql)
    time.sleep(0.6)
    with on_postgresql.untimed() as db:
        db.execute(text("SELECT pg_sleep(1.5)"))  # longer than these tests wait otherwise
        db.commit()
    names(on_postgresql)


# Settings


def test_sqlite_commits_to_disk_and_keeps_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/ledger.sqlite3")
    for transaction in (database.begin, database.read):
        with transaction() as db:
            for pragma, value in {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}.items():
                assert db.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
    database.close()


def test_sqlite_is_new_enough_not_to_lose_what_was_committed(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/ledger.sqlite3")
    with database.read() as db:
        version = str(db.scalar(text("SELECT sqlite_version()")))
    database.close()
    assert tuple(map(int, version.split("."))) >= sqlite.OLDEST_SAFE


def test_postgresql_speaks_utc_and_a_reader_cannot_write(on_postgresql: Database) -> None:
    with on_postgresql.read() as db:
        assert db.scalar(text("SHOW timezone")) == "UTC"
        assert db.scalar(text("SHOW transaction_isolation")) == "repeatable read"
    with pytest.raises(DatabaseError), on_postgresql.read() as db:
        keys.create(db, "no", NOW)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_name_of_postgresql_is_known(scheme: str) -> None:
    assert Database(f"{scheme}://127.0.0.1/ledger").engine.url.drivername == "postgresql+psycopg"


def test_json_is_the_same_text_everywhere() -> None:
    assert canonical_json({"b": [1, None], "a": "ü\u2603\n"}) == '{"a":"ü\u2603\\n","b":[1,null]}'


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_what_is_durable_on_sqlite_was_written(database_url: str, database: Database) -> None:
    """An empty transaction is committed on a full disk too, and would say that it takes writes."""
    log = Path(f"{database_url.removeprefix('sqlite:///')}-wal")
    with database.begin():
        pass
    before = log.stat().st_size
    with database.begin() as db:
        make_durable(db)
    assert log.stat().st_size > before


# A part of a transaction

ENDLESS = (
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
    " INSERT INTO api_key (id, name, created_at) SELECT x, x, x FROM n"
)


def write_in_part(database: Database, statement: str, seconds: float) -> None:
    with database.begin() as db:
        keys.create(db, "whole", NOW)
        driver(db).prepare(time.monotonic() + seconds)
        with database.nested(db):
            driver(db).execute(statement)


def test_a_refused_part_is_undone_and_the_rest_is_committed(database: Database) -> None:
    with database.begin() as db:
        keys.create(db, "before", NOW)
        with suppress(RecordRefused), database.nested(db):
            keys.create(db, "gone", NOW)
            db.execute(text(WITHOUT_A_NAME))
        keys.create(db, "after", NOW)
    assert sorted(names(database)) == ["after", "before"]


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_part_that_is_out_of_time_says_so(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="out of time"):
        write_in_part(database, "SELECT pg_sleep(3)", seconds=0.5)
    assert (database.breaker.answers, database.breaker.takes_writes) == (True, False)
    assert names(database) == []


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_part_after_which_sqlite_undoes_everything_says_why(database: Database) -> None:
    """With INTERRUPT, FULL and IOERR it does so by itself."""
    with pytest.raises(DatabaseUnavailable, match="interrupted"):
        write_in_part(database, ENDLESS, seconds=0.3)
    assert names(database) == []
    assert database.breaker.takes_writes


# What was not committed


@pytest.mark.parametrize("is_ingest", [False, True])
@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_an_error_that_somebody_hides_does_not_end_as_a_commit(database: Database, is_ingest: bool) -> None:
    """PostgreSQL answers COMMIT with ROLLBACK then, and calls that no error."""

    def hide_an_error() -> None:
        way: Any = database.ingest(time.monotonic() + 2) if is_ingest else database.begin()
        with way as db, suppress(psycopg.Error), driver(db).pipeline():
            driver(db).execute("SELECT 1/0")

    with pytest.raises(DatabaseError):
        hide_an_error()
    assert database.breaker.takes_writes
    write(database, "next")


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_server_that_does_not_tell_its_timeline_spoils_no_transaction(database: Database) -> None:
    """A pooler may lead each transaction to another server, so each has to ask."""
    with database.begin() as db:
        db.execute(text("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC"))
    with database.begin() as db:
        keys.create(db, "there", NOW)
        db.execute(text("SET LOCAL ROLE pg_monitor"))
        driver(db).is_pooled = True
        server = server_of(db)
        driver(db).is_pooled = False
    assert server is not None
    assert server.system is None
    assert names(database) == ["there"]


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_what_sqlite_undid_meanwhile_does_not_end_as_a_commit(database: Database) -> None:
    def hide_an_error() -> None:
        with database.begin() as db:
            keys.create(db, "gone", NOW)
            driver(db).prepare(time.monotonic() + 0.3)
            with suppress(sqlite.DriverError):
                driver(db).execute(ENDLESS)

    with pytest.raises(DatabaseError):
        hide_an_error()
    assert names(database) == []
    assert database.breaker.takes_writes
