"""The bench itself, for a moment: it sees what a database lost or miscounted, and shows what it measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from service.store.engine import Database
from tests.bed import browser
from tests.bed.web import CHECKOUT
from tests.bench import figures, machine, report
from tests.bench.contestants import Contestant, running
from tests.bench.figures import FLOOR, Stage
from tests.bench.ledgers import Naive, Ours
from tests.bench.load import Load
from tests.bench.machine import Compiled
from tests.bench.race import Result, Track

LOAD = Load(connections=4, seconds=0.4)
LOSES = "DELETE FROM callback WHERE id = new.id"
COMMIT = """
import sys, time
from sqlalchemy import text
from service.store.engine import Database
with Database(sys.argv[1]).begin() as db:
    db.execute(text("CREATE TABLE kept (id)"))
    began = time.perf_counter()
print(time.perf_counter() - began)
"""
MISCOUNTS = "UPDATE callback SET deliveries = 3 WHERE id = new.id"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    try:
        return machine.compile_all(tmp_path_factory.mktemp("compiled"))
    except machine.Missing as missing:
        if browser.in_ci():
            raise
        pytest.skip(f"no {missing}")


@pytest.fixture
def track(compiled: Compiled, tmp_path: Path) -> Track:
    return Track(tmp_path, compiled.load, 1, {LOAD: 1000})


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def ours(stack: ExitStack, track: Track, folder: Path) -> Contestant:
    ledger = Ours(f"sqlite:///{folder}/ours.sqlite3", track.sessions)
    stack.callback(ledger.close)
    return stack.enter_context(running("ours", ledger=ledger))


def race(track: Track, *contestants: Contestant) -> Result:
    track.begin(contestants)
    return track.race(contestants, LOAD)


def test_it_shows_a_floor_a_naive_handler_and_ours_side_by_side(
    track: Track, stack: ExitStack, tmp_path: Path
) -> None:
    naive = Naive(f"sqlite:///{tmp_path}/naive.sqlite3", track.sessions)
    stack.callback(naive.close)
    field = [
        stack.enter_context(running(FLOOR, "tests.bench.apps:floor()")),
        stack.enter_context(running("naive", "tests.bench.apps:naive()", naive, threads=4)),
        ours(stack, track, tmp_path),
    ]
    result = race(track, *field)
    for name in ("naive", "ours"):
        audit = result.audits[name]
        assert audit.answered == result.statuses[name][200] > 0
        assert (audit.lost, audit.twice) == (0, 0)
    assert result.audits["ours"].miscounted == 0
    stage = Stage("4", "Concurrency 4", result, {"naive": FLOOR, "ours": FLOOR})
    assert stage.ratio("ours", FLOOR, "rate") > 0
    table = report.stage(stage).splitlines()
    assert table[2].startswith("| contestant | callbacks/s |")
    assert [line.split()[1] for line in table[4:]] == ["floor", "naive", "ours"]
    assert '"ours": {' in report.data({}, [stage], [])


def test_it_sees_what_a_database_lost_or_miscounted(
    track: Track, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.bench.ledgers.PATIENCE_SECONDS", 0.3)
    contestant = ours(stack, track, tmp_path)
    sabotage(f"sqlite:///{tmp_path}/ours.sqlite3")
    result = race(track, contestant)
    audit, kept = result.audits["ours"], result.statuses["ours"][200]
    assert kept > 30
    assert audit.lost >= kept // 20
    assert audit.miscounted >= kept // 20


def sabotage(url: str) -> None:
    """From now on the database forgets every tenth callback, and counts another one wrongly."""
    database = Database(url)
    with database.begin() as db:
        for digit, wrong in enumerate((LOSES, MISCOUNTS)):
            when = f"AFTER INSERT ON callback WHEN new.call_sid LIKE '%{digit}'"
            db.execute(text(f"CREATE TRIGGER sabotage_{digit} {when} BEGIN {wrong}; END"))
    database.close()


def test_a_slow_fsync_makes_a_commit_slow(compiled: Compiled, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMIT, f"sqlite:///{tmp_path}/slow.sqlite3"],
        env={"LD_PRELOAD": str(compiled.slow_sync), "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) > 0.002


def test_a_target_is_reached_or_not() -> None:
    assert figures.Target("rate", 0.9, "at least", 0.9).is_reached
    assert not figures.Target("p99", 1.6, "at most", 1.5).is_reached
