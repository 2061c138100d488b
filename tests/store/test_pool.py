"""A process holds a bounded number of connections, and gives back those that nobody uses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import psycopg
import pytest
from sqlalchemy import text

from service.store.engine import BACKGROUND_CONNECTIONS, FEWEST_CONNECTIONS, Database, DatabaseUnavailable
from tests.bed.postgres import Postgres
from tests.house import wait_until

COUNT = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'siprec-ledger'"


@pytest.fixture
def url(postgres: Postgres, postgres_template: str) -> Iterator[str]:
    made = postgres.create_database(template=postgres_template)
    yield made
    postgres.drop_database(made)


def count(postgres: Postgres, url: str) -> int:
    name = url.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(postgres.url) as db:
        row = db.execute(COUNT, [name]).fetchone()
        assert row is not None
        return int(row[0])


def work(database: Database, ended: threading.Event) -> None:
    while not ended.is_set():
        try:
            with database.read() as db:
                db.execute(text("SELECT pg_sleep(0.01)"))
            with database.begin() as db:
                db.execute(text("SELECT pg_sleep(0.01)"))
            with database.begin(time.monotonic() + 1) as db:
                db.execute(text("SELECT pg_sleep(0.01)"))
            with database.ingest(time.monotonic() + 1) as ingesting:
                ingesting.driver_connection.execute("SELECT 1")
        except DatabaseUnavailable:
            pass


def test_however_many_threads_there_are_it_holds_ten(postgres: Postgres, url: str) -> None:
    database, ended = Database(url), threading.Event()
    with ThreadPoolExecutor(32) as threads:
        for _ in range(32):
            threads.submit(work, database, ended)
        began, most = time.monotonic(), 0
        while time.monotonic() < began + 2:
            most = max(most, count(postgres, url))
        ended.set()
    assert 4 < most <= 10
    assert database.breaker.takes_writes
    database.close()
    wait_until(lambda: count(postgres, url) == 0, 5)


def test_all_who_write_by_a_deadline_find_a_connection_each(postgres: Postgres, url: str) -> None:
    """The drain, heartbeat, numbering, what was rejected, and what the ingest connection cannot do."""
    with closing(Database(url, FEWEST_CONNECTIONS)) as database, ExitStack() as begun:
        for _ in range(BACKGROUND_CONNECTIONS):
            begun.enter_context(database.begin(time.monotonic() + 5))
        begun.enter_context(database.ingest(time.monotonic() + 5))
        begun.enter_context(database.begin())
        assert count(postgres, url) == FEWEST_CONNECTIONS


def test_what_nobody_uses_is_given_back(postgres: Postgres, url: str) -> None:
    database, ended = Database(url), threading.Event()
    for pool in database._pools:
        pool._idle_seconds = 0.5
    with ThreadPoolExecutor(8) as threads:
        for _ in range(8):
            threads.submit(work, database, ended)
        time.sleep(0.5)
        ended.set()
    assert count(postgres, url) > 3
    time.sleep(0.6)
    with database.begin(time.monotonic() + 1):  # as a heartbeat would
        pass
    assert count(postgres, url) <= 2  # that one, and the ingest connection
    database.close()
