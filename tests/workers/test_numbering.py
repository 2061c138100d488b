"""The worker that numbers events: how far it is behind, and what becomes of its turn when it is stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest

from service.store.engine import Database
from service.store.errors import Outage
from service.workers.numbering import Numbering
from tests.bed.pair import Pair
from tests.bed.pgbouncer import PgBouncer
from tests.bed.processes import CHECKOUT, environment
from tests.house import migrate, wait_until
from tests.ledger.desk import regain
from tests.ledger.lines import add, number_all, page, write_as_before

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
postgresql = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)

HAS_ITS_TURN = """
import sys, time
from service.ledger.numbering import number
from service.store import numbering
from service.store.engine import Database

give = numbering.number

def stay(db):
    if sys.argv[2] == "given":
        give(db)
    print("mine", flush=True)
    time.sleep(60)

numbering.number = stay
number(Database(sys.argv[1]))
"""


@contextmanager
def numberer(url: str, at: str = "not given") -> Iterator[subprocess.Popen[bytes]]:
    """A process that has its turn, for there is something to number, and gets no further."""
    process = subprocess.Popen(
        [sys.executable, "-c", HAS_ITS_TURN, url, at],
        cwd=CHECKOUT,
        env=environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == b"mine\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def unnumbered(numbering: Numbering) -> int | None:
    """After another round."""
    numbering._rests_until = 0.0
    numbering.run_once(NOW)
    lag = numbering.lag()
    return lag.unnumbered if lag else None


def test_how_far_it_is_behind_is_not_known_before_the_first_look(database: Database) -> None:
    numbering = Numbering(database)
    assert numbering.lag() is None
    assert unnumbered(numbering) == 0
    lag = numbering.lag()
    assert lag
    assert lag.seconds < 1
    time.sleep(0.1)
    later = numbering.lag()
    assert later
    assert lag.seconds + 0.1 <= later.seconds < 2


def test_a_backlog_is_numbered_in_one_round(database: Database) -> None:
    with database.begin() as db:
        write_as_before(db, *"a" * 1500)
    assert unnumbered(Numbering(database)) == 0
    assert [line.position for line in page(database, 0, 2000)] == [*range(1, 1501)]


def test_while_the_database_takes_no_writes_it_is_not_asked(database: Database) -> None:
    with database.begin() as db:
        write_as_before(db, "a")
    database.breaker.failed(Outage.WRITES, "somebody failed")
    numbering = Numbering(database)
    assert unnumbered(numbering) is None
    regain(database)
    assert unnumbered(numbering) == 0


@postgresql
def test_a_look_that_finds_nothing_does_not_say_that_the_database_takes_writes(database: Database) -> None:
    numbering = Numbering(database)
    assert unnumbered(numbering) == 0
    commits = []
    database.breaker.committing = lambda *_, **__: commits.append(1)  # type: ignore[method-assign, assignment]
    assert unnumbered(numbering) == 0
    assert commits == []


@pytest.mark.parametrize("is_pooled", [False, True], ids=["direct", "pooled"])
@pytest.mark.parametrize("at", ["given", "not given"])
@postgresql
def test_a_stopped_numberer_loses_its_turn_and_others_go_on(
    database: Database, database_url: str, at: str, is_pooled: bool, request: pytest.FixtureRequest
) -> None:
    url = database_url
    if is_pooled:
        pooler: PgBouncer = request.getfixturevalue("pooler")
        url = pooler.in_front_of(url)
    numbering = Numbering(database)
    add(database, "a")
    with numberer(url, at) as process:
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        add(database, "b")
        time.sleep(0.2)
        assert unnumbered(numbering) == 2
        lag = numbering.lag()
        assert lag
        assert 0.1 < lag.seconds < 5
        wait_until(lambda: unnumbered(numbering) == 0, 10)
        assert time.monotonic() - began < 5
    assert [line.position for line in page(database, 0)] == [1, 2]


@postgresql
def test_a_killed_numberer_loses_its_turn_at_once(database: Database, database_url: str) -> None:
    numbering = Numbering(database)
    add(database, "a")
    with numberer(database_url) as process:
        assert unnumbered(numbering) == 1
        process.kill()
        wait_until(lambda: unnumbered(numbering) == 0, 1.5)


@postgresql
def test_behind_a_pooler_it_numbers_as_ever(database_url: str, pooler: PgBouncer) -> None:
    with closing(Database(pooler.in_front_of(database_url))) as database:
        numbering = Numbering(database)
        for _ in range(8):  # more often than a statement is run before it is prepared
            add(database, "a")
            assert unnumbered(numbering) == 0
        assert [line.position for line in page(database, 0)] == [*range(1, 9)]


@pytest.mark.parametrize("is_synchronous", [False])
def test_after_a_failover_that_lost_some_it_goes_on_from_what_is_there(pair: Pair) -> None:
    with closing(Database(migrate(pair.create_database()))) as database:
        add(database, *"abc")
        number_all(database)
        pair.wait_until_caught_up()
        pair.standby.stop()
        add(database, *"de")
        number_all(database)
        assert [line.position for line in page(database, 0)] == [1, 2, 3, 4, 5]
        pair.primary.kill()
        pair.standby.start()
        pair.fail_over()
        database.breaker.failed(Outage.ALL, "the primary was lost")
        regain(database)
        add(database, *"fg")
        numbering = Numbering(database)
        assert unnumbered(numbering) == 0
        lines = page(database, 0)
        assert [(line.position, line.subject_id) for line in lines] == [*enumerate("abcfg", start=1)]
