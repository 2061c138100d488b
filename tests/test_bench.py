"""The bench itself, for a moment: it sees what a database lost or miscounted, and shows what it measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import text

from service.store.engine import Database
from tests.bed import browser
from tests.bed.web import CHECKOUT
from tests.bench import machine, overdue, page_reads, peers, tables, watch
from tests.bench.background import Background, DidNotGoOn, Forgers, Readers, SlowClients
from tests.bench.contestants import LEDGER, WATCHED_LEDGER, Contestant, running, running_peer
from tests.bench.data import Made
from tests.bench.figures import FLOOR, Stage
from tests.bench.ledgers import Naive, Ours
from tests.bench.load import Load
from tests.bench.machine import Compiled
from tests.bench.race import Reading, Result, Track
from tests.bench.reads import Reader
from tests.bench.run import Run, as_json
from tests.bench.targets import AT_LEAST, AT_MOST, Target, targets
from tests.house import wait_until

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
STATES = ["requested", "accepted", "started", "stopped"]
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


def ours(stack: ExitStack, track: Track, folder: Path, app: str = LEDGER) -> Contestant:
    ledger = Ours(f"sqlite:///{folder}/ours.sqlite3", track.sessions)
    stack.callback(ledger.close)
    return stack.enter_context(running("ours", app, ledger))


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
    assert "/callbacks" not in field[-1].web.log  # nobody keeps an access log
    stage = Stage("4", "Concurrency 4", result, {"naive": FLOOR, "ours": FLOOR})
    assert stage.ratio("ours", FLOOR, "rate") > 0
    table = tables.stage(stage).splitlines()
    assert table[2].startswith("| contestant | callbacks/s |")
    assert [line.split()[1] for line in table[4:]] == ["floor", "naive", "ours"]
    assert '"ours": {' in as_json(Run({}, [stage], [], []))
    assert stage.median("ours", "cpu") > stage.median(FLOOR, "cpu") / 10 > 0


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


def test_every_peer_is_measured_or_left_out_by_name(track: Track, stack: ExitStack, tmp_path: Path) -> None:
    installed, left_out = peers.installed()
    assert {peer.name for peer in installed} | set(left_out) == {peer.name for peer in peers.PEERS}
    here = [peer for peer in installed if peer.kind == "SQLite"]
    contestants = []
    for peer in here:
        ledger = stack.enter_context(closing(Naive(f"sqlite:///{tmp_path}/{peer.name}", track.sessions)))
        contestants.append(stack.enter_context(running_peer(peer, ledger)))
    if not here:  # as on a machine where the peers' own lock was not installed: then all have a reason
        assert all(left_out.values())
        return
    result = race(track, *contestants)
    for peer in here:
        audit = result.audits[peer.name]
        assert audit.answered == result.statuses[peer.name][200] > 0
        assert (audit.lost, audit.twice, audit.miscounted) == (0, 0, 0)


@pytest.mark.parametrize("unit", ["lists/s", "forged/s", "slow clients"])
def test_something_goes_on_beside_a_slice(
    compiled: Compiled, track: Track, stack: ExitStack, tmp_path: Path, unit: str
) -> None:
    ledger = stack.enter_context(closing(Ours(f"sqlite:///{tmp_path}/ours", track.sessions)))
    beside: Background = SlowClients(count=20)  # fewer than there are threads
    if unit == "lists/s":
        beside = Readers(compiled.load, tmp_path, ledger.api_key)
    if unit == "forged/s":
        beside = Forgers(compiled.load, tmp_path)
    result = race(track, stack.enter_context(running("ours", ledger=ledger, background=beside)))
    assert set(result.statuses["ours"]) == {200}
    assert result.background == unit
    assert result.readings["ours"][0].background > 1
    assert result.audits["ours"].lost == 0


def test_what_is_not_answered_as_it_should_be_makes_no_figure(
    compiled: Compiled, track: Track, stack: ExitStack, tmp_path: Path
) -> None:
    readers = Readers(compiled.load, tmp_path, "not a key")
    with pytest.raises(DidNotGoOn, match="answered 200"):
        race(track, stack.enter_context(running(FLOOR, "tests.bench.apps:floor()", background=readers)))


def test_an_event_loop_is_watched_where_it_is_asked_for(
    track: Track, stack: ExitStack, tmp_path: Path
) -> None:
    field = [
        stack.enter_context(running(FLOOR, "tests.bench.apps:floor()")),
        ours(stack, track, tmp_path, WATCHED_LEDGER),
    ]
    stage = Stage("clients", "Watched", race(track, *field), {})
    assert [stage.is_watched(name) for name in (FLOOR, "ours")] == [False, True]
    assert stage.median("ours", "lag") > 0
    *_, floor, watched = tables.stage(stage).splitlines()
    assert [cell(row, "loop p99 ms", stage) != "" for row in (floor, watched)] == [False, True]


def cell(row: str, title: str, stage: Stage) -> str:
    titles, cells = (
        [one.strip() for one in line.split("|")] for line in (tables.stage(stage).splitlines()[2], row)
    )
    return cells[titles.index(title)]


def test_the_made_sessions_are_shown_as_if_they_had_happened(tmp_path: Path) -> None:
    made = Made(1000)
    ledger = Ours(f"sqlite:///{tmp_path}/made.sqlite3", 1, stored=made.count)
    with closing(ledger), running("ours", ledger=ledger) as contestant, ExitStack() as stack:
        asking = stack.enter_context(closing(Reader(contestant, made, ledger.api_key)))
        one = asking.get(asking.paths["one session"])
        assert (one["reference"], one["labels"]) == ("claim-501", {"team": "team-5", "site": "site-1"})
        assert [event["state"] for event in one["timeline"]] == STATES
        assert one["state"] == "stopped"
        assert len(asking.get(asking.paths["its callbacks"])["callbacks"]) in (2, 3)
        assert asking.read("account, rare")[0] == 5
        assert asking.read("label, rare")[0] == 5
        assert asking.read("state, none")[0] == 0
        assert asking.read("a deep page")[0] == 50
        assert asking.read("feed, from the middle")[0] == 100
        assert asking.read("feed, account, usual")[0] == 100
        assert asking.read("feed, type, none")[0] == 0
        assert asking.read("feed, one session")[0] in (2, 3, 4)


def test_it_asks_for_each_page_as_a_browser_does(tmp_path: Path) -> None:
    with page_reads.browser(f"sqlite:///{tmp_path}/pages.sqlite3", Made(1000)) as asking:
        found = {name: asking.read(name)[0] for name in asking.names}
    rows = {name: found[f"sessions, {name}"] for name in ("account, none", "label, rare", "a deep page")}
    assert rows == {"account, none": 0, "label, rare": 1 + 5, "a deep page": 1 + 250}
    assert found["sessions, overdue, rare"] == 1 + 5
    assert found["one session with 200 callbacks"] > 50
    assert found["export, a rare label"] > 1
    assert found["status"] > 5


def test_the_watch_is_measured_by_itself_on_both_databases(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    costs = list(watch.run(tmp_path, sessions=(20, 50), rounds=2, due=70))
    assert [(cost.kind, cost.unit) for cost in costs] == [
        *(("SQLite", unit) for unit in ("ms", "ms", "sessions/s", "ms")),
        *(("PostgreSQL", unit) for unit in ("ms", "ms", "sessions/s")),
    ]
    assert all(len(cost.values) == 2 and min(cost.values) > 0 for cost in costs)
    shown = tables.watch(costs)
    assert "SQLite: 70 due at once" in shown
    (slow,) = targets([], [], [watch.Cost("SQLite", "a pass", "ms", [6, 7, 1], must=5)])
    assert (slow.value, slow.is_reached) == (6, False)


def test_sessions_are_due_while_a_slice_is_run_and_not_before_or_after(
    compiled: Compiled, track: Track, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.bench.overdue.DUE", 40)
    url = f"sqlite:///{tmp_path}/ours"
    ledger = stack.enter_context(closing(Ours(url, track.sessions)))
    beside = overdue.DueAtOnce(url)
    contestant = stack.enter_context(running("ours", ledger=ledger, background=beside))
    database = stack.enter_context(closing(Database(url)))
    assert overdue.decided(database) == 0
    with beside.going_on(contestant.port, 0):
        wait_until(lambda: overdue.decided(database) == 40)
    with database.read() as db:
        assert db.scalar(text("SELECT count(*) FROM due WHERE next_at < '9000'")) == 0


def test_the_made_sessions_are_the_same_every_time() -> None:
    one, other = (next(Made(100).chunks()) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("value", "bound", "reached"),
    [
        (1.5, AT_LEAST, (True, True)),
        (1.2, AT_LEAST, (True, False)),
        (1.1, AT_LEAST, (False, False)),
        (1.1, AT_MOST, (True, True)),
    ],
)
def test_a_target_is_reached_as_a_must_or_as_an_aim(
    value: float, bound: str, reached: tuple[bool, bool]
) -> None:
    target = Target("rate", value, bound, must=1.2, aim=1.4)
    assert (target.is_reached, target.is_aim_reached) == reached


def test_nothing_measured_makes_no_target() -> None:
    assert targets([], []) == []


def reading(**figures: float) -> Reading:
    zero = dict.fromkeys(
        ("rate", "p50", "slowest", "cpu", "background", "server_core", "load_core", "load_program"), 0.0
    )
    return Reading(**{**zero, **figures})


def forged(p99: list[float], statuses: dict[int, int]) -> Stage:
    """A race of ours on SQLite only, beside forgers."""
    result = Result()
    for name, factor in (("ours, SQLite", 0.5), ("ours, SQLite, 64 forgers", 1)):
        result.readings[name] = [reading(p99=one * factor, rate=100) for one in p99]
    result.statuses["ours, SQLite, 64 forgers"].update(statuses)
    return Stage("forgers", "Forgers", result, {"ours, SQLite, 64 forgers": "ours, SQLite"}, "p99")


@pytest.mark.parametrize(
    ("p99", "statuses", "reached"),
    [
        ([20, 49, 500], {200: 100}, [True, True]),
        ([20, 51, 52], {200: 100}, [False, True]),
        ([20, 20, 20], {200: 100, 503: 1}, [True, False]),
        ([20, 20, 20], {200: 100, 1: 1}, [True, False]),
    ],
)
def test_forgers_may_neither_delay_a_callback_nor_turn_it_away(
    p99: list[float], statuses: dict[int, int], reached: list[bool]
) -> None:
    stage = forged(p99, statuses)
    assert [target.is_reached for target in targets([stage], [])] == reached
    *_, beside = tables.stage(stage).splitlines()
    assert cell(beside, "p99, of without", stage) == "2.00"
    assert cell(beside, "not 200", stage) == str(sum(statuses.values()) - 100)
