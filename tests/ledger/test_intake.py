"""The intake: whatever the database does, a callback is durable before it is answered, and counted once."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import text

from service.domain.callback import Callback
from service.domain.ids import new_id
from service.domain.notice import Notice, NoticeKind
from service.ledger import intake
from service.ledger.intake import NotDurable
from service.ledger.spool_entry import UnsavedAnswer
from service.log_lines import fields_of
from service.sandbox import Behaviour, Sandbox, Session
from service.spool import SpoolUnusable
from service.store.engine import Database, DatabaseConflict, DatabaseUnavailable, RecordRefused
from tests.bed.postgres import Postgres
from tests.house import House, migrate, wait_until
from tests.ledger.desk import Desk, again, lose, now, regain, running

ANSWER_SECONDS = 1.5
SECONDS = 20


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Iterator[Desk]:
    with running(Desk(database, tmp_path / "spool")) as desk:
        yield desk


@pytest.fixture
def undrained(database: Database, tmp_path: Path) -> Iterator[Desk]:
    """Nothing is drained but by hand."""
    with running(Desk(database, tmp_path / "spool"), drains=False) as desk:
        yield desk


def wait_for(event: threading.Event) -> None:
    event.wait(SECONDS)


class Writes:
    """Stands before `ingest.write`: `before` and `after` are called with each batch."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[list[Callback]] = []
        self.before: Callable[[list[Callback]], None] = lambda _: None
        self.after: Callable[[list[Callback]], None] = lambda _: None
        write = desk.ingest.write

        def stand_before(batch: list[Callback], *args: Any, **options: Any) -> object:
            self.batches.append(list(batch))
            self.before(batch)
            server = write(batch, *args, **options)
            self.after(batch)
            return server

        monkeypatch.setattr(desk.ingest, "write", stand_before)


def test_callbacks_that_come_at_once_are_all_kept_once(desk: Desk) -> None:
    same = desk.callback(event="siprec-stopped")
    callbacks = [desk.callback(sid=f"sid-{n % 3}", Number=str(n)) for n in range(60)]
    desk.keep(*callbacks, *again(same, 20))
    assert desk.deliveries() == {"siprec-started": 60, "siprec-stopped": 20}


def test_who_comes_while_a_batch_is_committed_is_in_the_next_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(desk, monkeypatch)
    writes.before = lambda _: time.sleep(0.05)

    async def come_one_by_one() -> None:
        kept = []
        for callback in desk.callbacks(40):
            kept.append(desk.intake.keep(callback))
            await asyncio.sleep(0.002)
        await asyncio.gather(*kept)

    desk.run(come_one_by_one())
    assert len(writes.batches) < 10
    assert sum(map(len, writes.batches)) == 40


def test_it_is_waited_for_until_a_moment_after_the_answer(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "PAUSE_SECONDS", 0.3)
    go_on = threading.Event()
    Writes(undrained, monkeypatch).before = lambda _: wait_for(go_on)

    async def come() -> list[bool]:
        seen = [undrained.intake.is_waited_for]
        kept = undrained.intake.keep(undrained.callback())
        await asyncio.sleep(0.1)
        seen.append(undrained.intake.is_waited_for)
        go_on.set()
        await kept
        seen.append(undrained.intake.is_waited_for)
        await asyncio.sleep(0.4)
        return [*seen, undrained.intake.is_waited_for]

    assert undrained.run(come()) == [False, True, True, False]


def test_it_is_known_when_many_wait(undrained: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MANY", 3)
    go_on = threading.Event()
    Writes(undrained, monkeypatch).before = lambda _: wait_for(go_on)

    async def come() -> list[bool]:
        kept, seen = [], []
        for callback in undrained.callbacks(3):
            kept.append(undrained.intake.keep(callback))
            seen.append(undrained.intake.are_many_waiting)
        go_on.set()
        await asyncio.gather(*kept)
        return [*seen, undrained.intake.are_many_waiting]

    assert undrained.run(come()) == [False, False, True, False]


def test_a_lone_callback_waits_for_no_clock(undrained: Desk) -> None:
    undrained.keep(undrained.callback())
    taken = [undrained.keep(undrained.callback(Number=str(n)))[0] for n in range(20)]
    assert statistics.median(taken) < 0.04


def test_one_bad_callback_in_a_batch_harms_no_other_and_is_kept_raw(undrained: Desk) -> None:
    batch = undrained.callbacks(9)
    bad = batch[4]
    batch[4] = replace(bad, notice=replace(bad.notice, time_is_plausible=None))  # type: ignore[arg-type]
    undrained.keep(*batch)
    with undrained.database.read() as db:
        rows = db.execute(text("SELECT callback_id, event, problem FROM report_callbacks_v1")).all()
    assert len(rows) == 9
    raw = [row for row in rows if row.event is None]
    assert [row.callback_id for row in raw] == [bad.delivery.id]
    assert "could not be stored" in raw[0].problem


def test_what_is_refused_even_raw_goes_to_the_spool_and_becomes_a_dead_letter(undrained: Desk) -> None:
    good, bad = undrained.callbacks(2)
    undrained.keep(good, replace(bad, verified_by=None))  # type: ignore[arg-type]
    assert undrained.depth.entries == 1
    assert undrained.deliveries() == {"siprec-started": 1}


def test_a_refused_record_is_never_stored_raw_while_the_database_is_unavailable(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal of writes ends, or begins, in mid-batch."""
    writes = Writes(undrained, monkeypatch)

    def refuse_then_be_gone(batch: list[Callback]) -> None:
        if len(batch) == 2:
            raise RecordRefused("one of them")
        raise DatabaseUnavailable("cannot execute INSERT in a read-only transaction")

    writes.before = refuse_then_be_gone
    undrained.keep(*undrained.callbacks(2))
    assert all(callback.event for batch in writes.batches for callback in batch)
    assert undrained.depth.entries == 2


def test_a_conflict_is_tried_again_and_opens_no_breaker(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(undrained, monkeypatch)

    def come_in_the_way(_: list[Callback]) -> None:
        if len(writes.batches) <= 4:
            raise DatabaseConflict("deadlock detected")

    writes.before = come_in_the_way
    undrained.keep(undrained.callback())
    assert undrained.deliveries() == {"siprec-started": 1}
    assert undrained.database.breaker.takes_writes
    assert undrained.depth.entries == 0


@pytest.mark.parametrize("error", [DatabaseConflict("deadlock detected"), RecordRefused("what came home")])
def test_what_fails_after_a_part_was_committed_is_counted_once(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What comes home to its session is written in a second transaction."""
    undrained.ingest.write([undrained.callback()])
    with undrained.database.read() as db:
        session_id = str(db.scalar(text("SELECT id FROM session")))
    errors = [error]

    def fail_once(_: list[Callback]) -> None:
        if errors:
            raise errors.pop()

    Writes(undrained, monkeypatch).after = fail_once
    undrained.keep(*[replace(one, session_id=session_id) for one in undrained.callbacks(2)])
    assert not errors
    assert undrained.deliveries() == {"siprec-started": 3}


def test_a_conflict_without_end_goes_to_the_spool_in_time(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def come_in_the_way(_: list[Callback]) -> None:
        raise DatabaseConflict("deadlock detected")

    Writes(undrained, monkeypatch).before = come_in_the_way
    (taken,) = undrained.keep(undrained.callback())
    assert taken < ANSWER_SECONDS
    assert undrained.depth.entries == 1


def test_a_commit_whose_outcome_is_unknown_is_counted_once(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_answer(_: list[Callback]) -> None:
        raise DatabaseUnavailable("the connection broke during COMMIT")

    with monkeypatch.context() as patched:
        Writes(undrained, patched).after = lose_the_answer
        undrained.keep(undrained.callback())
    assert undrained.depth.entries == 1
    regain(undrained.database)  # on a slow machine the write was also too slow
    undrained.drain.run()
    assert undrained.depth.entries == 0
    assert undrained.deliveries() == {"siprec-started": 1}


def test_what_the_writer_is_stuck_with_is_spooled_in_time_and_counted_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stalled COMMIT that comes through late, after the drain could have been there before it."""
    go_on = threading.Event()
    with monkeypatch.context() as patched:
        Writes(desk, patched).before = lambda _: wait_for(go_on)
        taken = desk.keep(*desk.callbacks(5))
        assert 0.7 < max(taken) < ANSWER_SECONDS
        assert desk.keep(desk.callback(Number="5"))[0] < 0.3  # to the spool at once
        assert desk.intake.is_late
    go_on.set()
    wait_until(desk.is_drained)
    assert desk.deliveries() == {"siprec-started": 6}
    assert desk.database.breaker.takes_writes


def test_what_the_writer_holds_late_is_drained_after_it_only(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    with monkeypatch.context() as patched:
        Writes(undrained, patched).before = lambda _: wait_for(go_on)
        undrained.keep(undrained.callback())
    regain(undrained.database)
    undrained.worker.run_once(now())
    assert undrained.depth.entries == 1
    go_on.set()
    wait_until(lambda: not undrained.intake.is_late)
    wait_until(lambda: _is_drained_by_hand(undrained))
    assert undrained.deliveries() == {"siprec-started": 1}


def _is_drained_by_hand(desk: Desk) -> bool:
    with suppress(DatabaseUnavailable):
        desk.worker.run_once(now())
    return desk.depth.entries == 0


def test_neither_database_nor_spool_in_time_is_not_durable(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    with monkeypatch.context() as patched:
        Writes(undrained, patched).before = lambda _: wait_for(go_on)
        patched.setattr(undrained.backlog, "save", lambda _: go_on.wait(SECONDS))
        began = time.monotonic()
        kept = undrained.try_to_keep(*undrained.callbacks(3))
        assert 1.3 < time.monotonic() - began < 1.6
        assert all(isinstance(one, NotDurable) for one in kept)
        go_on.set()


def test_a_commit_may_still_come_when_the_spool_is_full(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_full(_: object) -> None:
        raise SpoolUnusable("the spool is full")

    with monkeypatch.context() as patched:
        Writes(undrained, patched).after = lambda _: time.sleep(1.0)
        patched.setattr(undrained.backlog, "save", be_full)
        assert undrained.keep(undrained.callback())[0] < ANSWER_SECONDS
    assert undrained.deliveries() == {"siprec-started": 1}


@pytest.mark.parametrize("surprise", [ZeroDivisionError, MemoryError, SystemExit])
def test_a_surprise_in_the_writer_spools_its_batch_and_the_next_is_committed(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch, surprise: type[BaseException]
) -> None:
    def fail(_: list[Callback]) -> None:
        raise surprise

    with monkeypatch.context() as patched:
        Writes(undrained, patched).before = fail
        assert max(undrained.keep(*undrained.callbacks(8))) < 0.5
    assert undrained.depth.entries == 8
    undrained.keep(undrained.callback(event="siprec-stopped"))
    assert undrained.deliveries() == {"siprec-stopped": 1}


@pytest.mark.parametrize("surprise", [ZeroDivisionError, SystemExit])
def test_a_surprise_in_both_threads_is_told_to_all_who_wait_and_the_next_is_kept(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch, surprise: type[BaseException]
) -> None:
    def fail(_: object) -> None:
        raise surprise

    with monkeypatch.context() as patched:
        Writes(undrained, patched).before = fail
        patched.setattr(undrained.backlog, "save", fail)
        kept = undrained.try_to_keep(*undrained.callbacks(8))
        assert all(isinstance(one, NotDurable) for one in kept)
    undrained.keep(undrained.callback())
    assert undrained.deliveries() == {"siprec-started": 1}


def test_when_too_many_wait_the_next_is_told_at_once(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(intake, "MOST_WAITING", 10)
    with monkeypatch.context() as patched:
        Writes(undrained, patched).before = lambda _: wait_for(go_on)

        async def come() -> int:
            kept = [undrained.intake.keep(one) for one in undrained.callbacks(10)]
            with pytest.raises(NotDurable, match="too many"):
                _ = undrained.intake.keep(undrained.callback())
            go_on.set()
            return len(await asyncio.gather(*kept))

        assert undrained.run(come()) == 10
    undrained.keep(*undrained.callbacks(10))  # there is room again


@pytest.mark.parametrize("takes_writes", [False, True])
def test_while_database_and_disk_hang_no_more_is_held_than_may_wait(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch, takes_writes: bool
) -> None:
    """Who was told that it is not durable sends it again, and again."""
    go_on = threading.Event()
    monkeypatch.setattr(intake, "MOST_WAITING", 10)
    monkeypatch.setattr(intake, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(intake, "COMMIT_SECONDS", 0.1)
    with monkeypatch.context() as patched:
        Writes(undrained, patched).before = lambda _: wait_for(go_on)
        patched.setattr(undrained.backlog, "save", lambda _: go_on.wait(SECONDS))
        if not takes_writes:
            lose(undrained.database, "a failover")
        for _ in range(6):
            kept = undrained.try_to_keep(*undrained.callbacks(10))
            assert all(isinstance(one, NotDurable) for one in kept)
        assert undrained.intake._writer.waiting <= 10
        assert undrained.intake._spooler.waiting <= 10
        go_on.set()


def test_a_queue_full_of_what_was_spooled_meanwhile_does_not_keep_others_from_the_spool(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(intake, "MOST_WAITING", 10)
    with monkeypatch.context() as patched:
        Writes(undrained, patched).before = lambda _: wait_for(go_on)
        undrained.run(_keep_soon(undrained, undrained.callback()))
        wait_until(lambda: bool(undrained.intake._writer.in_hand))
        undrained.keep(*undrained.callbacks(9))
        assert undrained.intake._writer.waiting == 9
        undrained.keep(*undrained.callbacks(10))
        go_on.set()
    assert undrained.depth.entries == 20


async def _keep_soon(desk: Desk, callback: Callback) -> None:
    _ = desk.intake.keep(callback)


def test_a_client_that_leaves_changes_nothing(undrained: Desk) -> None:
    async def leave() -> None:
        undrained.intake.keep(undrained.callback()).cancel()

    undrained.run(leave())
    wait_until(lambda: undrained.deliveries() == {"siprec-started": 1})
    undrained.keep(undrained.callback())


def test_keep_never_waits(undrained: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for the writer nor for the spool."""
    go_on = threading.Event()
    with monkeypatch.context() as patched:
        Writes(undrained, patched).before = lambda _: wait_for(go_on)
        patched.setattr(undrained.backlog, "save", lambda _: go_on.wait(SECONDS))

        async def lag() -> float:
            kept, slowest = [], 0.0
            for number in range(100):
                began = time.monotonic()
                kept.append(undrained.intake.keep(undrained.callback(Number=str(number))))
                await asyncio.sleep(0)
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.01)
            go_on.set()
            await asyncio.gather(*kept, return_exceptions=True)
            return slowest

        assert undrained.run(lag()) < 0.1


def test_without_a_spool_a_database_that_is_unavailable_is_said_at_once(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/no/such/folder.sqlite3")
    with running(Desk(database, spool=None)) as desk:
        desk.try_to_keep(desk.callback())
        (kept,) = desk.try_to_keep(desk.callback())
        assert isinstance(kept, NotDurable)
        began = time.monotonic()
        desk.try_to_keep(desk.callback())
        assert time.monotonic() - began < 0.2


def test_without_a_spool_nothing_is_given_to_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(intake, "MOST_WAITING", 10)
    monkeypatch.setattr(intake, "ANSWER_SECONDS", 0.3)
    with running(Desk(database, spool=None), drains=False) as desk, monkeypatch.context() as patched:
        Writes(desk, patched).before = lambda _: wait_for(go_on)
        reasons = {str(one) for _ in range(3) for one in desk.try_to_keep(*desk.callbacks(10))}
        go_on.set()
    assert reasons == {"too late", "too many wait"}


def test_of_what_is_not_committed_the_log_says_what_was_spooled_and_what_was_answered_503(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: list[Callback]) -> None:
        monkeypatch.setattr(intake, "MOST_WAITING", 3)  # for the spool's thread, by now
        raise DatabaseUnavailable("gone")

    Writes(undrained, monkeypatch).before = fail
    kept = undrained.try_to_keep(*undrained.callbacks(5))
    answered = sum(isinstance(one, NotDurable) for one in kept)
    assert answered
    said: list[Any] = [fields_of(one) for one in caplog.records if "not committed" in one.message]
    assert sum(one["answered_503"] for one in said) == answered
    assert sum(one["given_to_spool"] for one in said) == 5 - answered


def test_without_a_spool_a_slow_commit_has_longer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(Desk(database, spool=None)) as desk:
        desk.keep(desk.callback(Number="1"))  # it is connected then
        Writes(desk, monkeypatch).after = lambda _: time.sleep(intake.COMMIT_SECONDS + 0.1)
        assert desk.keep(desk.callback(Number="2"))[0] < ANSWER_SECONDS


def test_what_waits_at_the_end_is_still_kept(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(database, tmp_path / "spool").start(drains=False)
    Writes(desk, monkeypatch).before = lambda _: time.sleep(0.2)

    async def come() -> list[asyncio.Future[None]]:
        return [desk.intake.keep(one) for one in desk.callbacks(5)]

    kept = desk.run(come())
    desk.intake.stop()
    wait_until(lambda: all(one.done() for one in kept), seconds=1)
    assert all(one.exception() is None for one in kept)
    desk.stop()
    assert desk.deliveries() == {"siprec-started": 5}


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@contextmanager
def gone(server: Postgres, fault: str) -> Iterator[None]:
    if fault == "stop":
        server.stop("immediate")
    else:
        server.freeze()
    yield
    if fault == "stop":
        server.start()
    else:
        server.thaw()


@pytest.mark.parametrize("fault", ["stop", "freeze"])
def test_while_postgresql_is_unavailable_callbacks_go_to_the_spool_in_time(
    own_postgres: Postgres, tmp_path: Path, fault: str
) -> None:
    database = Database(migrate(own_postgres.create_database()))
    with running(Desk(database, tmp_path / "spool")) as desk:
        desk.keep(desk.callback(Number="0"))
        with gone(own_postgres, fault):
            callbacks = desk.callbacks(25)[1:]
            assert max(desk.keep(*callbacks)) < ANSWER_SECONDS
            wait_until(lambda: not database.breaker.takes_writes, seconds=2)
            assert desk.keep(desk.callback(Number="25"))[0] < 0.2
        wait_until(desk.is_drained)
        assert desk.deliveries() == {"siprec-started": 26}
    database.close()


def test_while_sqlite_is_locked_callbacks_go_to_the_spool_in_time(tmp_path: Path) -> None:
    url = migrate(f"sqlite:///{tmp_path}/ledger.sqlite3")
    other = Database(url)
    with running(Desk(Database(url), tmp_path / "spool")) as desk:
        with other.begin():
            assert desk.keep(desk.callback(Number="0"))[0] < ANSWER_SECONDS
            assert desk.keep(desk.callback(Number="1"))[0] < ANSWER_SECONDS
        wait_until(desk.is_drained)
        assert desk.deliveries() == {"siprec-started": 2}


# Over HTTP
def test_while_the_database_is_unavailable_callbacks_are_answered_200_and_reads_503(
    own_postgres: Postgres, sandbox: Sandbox
) -> None:
    sandbox.behave(Behaviour(drop=frozenset({"siprec-started"})))
    url = migrate(own_postgres.create_database())
    with House(url, sandbox) as house:
        session = house.start().json()
        own_postgres.stop("immediate")
        for number in range(3):
            body = sandbox.compose(session["siprec_sid"], "siprec-started", Number=str(number))
            kept = requests.post(
                house.callback_url(), data=body, headers=sandbox.sign(body), timeout=ANSWER_SECONDS
            )
            assert kept.status_code == 200
        unavailable = house.get(f"/v1/sessions/{session['id']}")
        assert (unavailable.status_code, unavailable.headers["Retry-After"]) == (503, "5")
        for read in (unavailable, house.get("/v1/events")):
            assert float(read.headers["Ledger-Spool-Age"]) >= 0
        ready = house.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["database"]["takes_writes"] is False
        assert ready.json()["spool"]["entries"] == 3
        house.web.kill_master()
        own_postgres.start()
        house.web.start()  # drains what its dead predecessor left
        shown = house.wait_for(session["id"], "started")
        assert len(house.callbacks(shown["id"])) == 3
        wait_until(lambda: house.get("/readyz").json()["spool"]["entries"] == 0)
        assert "Ledger-Spool-Age" not in house.get("/v1/sessions").headers


@pytest.mark.parametrize("database_kind", ["postgresql"])  # on SQLite there is one web process
def test_four_processes_with_eight_threads_do_not_deadlock(database_url: str, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(drop=frozenset({"siprec-started"})))
    with House(database_url, sandbox, workers=4, THREADS="8") as house:
        sessions = [house.start(f"v3:{n}").json() for n in range(6)]
        bodies = [
            (house.callback_url(session["call_sid"]), sandbox.compose(session["siprec_sid"], event, N=str(n)))
            for n in range(20)
            for session in sessions
            for event in ("siprec-started", "siprec-stopped")
        ]
        adopted = [
            (
                f"{house.web.url}/callbacks/siprec",
                sandbox.compose(Session("a", "c", f"s{n % 3}"), "siprec-started", N=str(n)),
            )
            for n in range(60)
        ]
        mixed = [pair for both in zip(bodies, adopted * 4, strict=True) for pair in both]
        with ThreadPoolExecutor(32) as pool:
            statuses = list(pool.map(lambda one: _post(one[0], one[1], sandbox), mixed))
        assert set(statuses) == {200}
        wait_until(lambda: house.get("/readyz").json()["spool"]["entries"] == 0)
        for session in sessions:
            assert house.session(session["id"])["state"] == "stopped"
            assert len(house.callbacks(session["id"])) == 40
        assert "deadlock" not in house.web.log.lower()


def _post(url: str, body: bytes, sandbox: Sandbox) -> int:
    return requests.post(url, data=body, headers=sandbox.sign(body), timeout=30).status_code


def test_a_spool_that_cannot_be_written_to_stops_the_start(
    database_url: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    house = House(database_url, sandbox, SPOOL_DIR=str(tmp_path / "file" / "spool"))
    with pytest.raises(Exception, match="the spool cannot be used"):
        house.web.start()
    house.close()


def test_sigterm_in_full_flow_keeps_what_it_answers(build: Callable[..., House], sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(drop=frozenset({"siprec-started"})))
    house = build()
    sid, url = house.start().json()["siprec_sid"], house.callback_url()
    answered: list[str] = []

    def send(number: int) -> None:
        body = sandbox.compose(sid, "siprec-started", N=str(number))
        try:
            if requests.post(url, data=body, headers=sandbox.sign(body), timeout=10).status_code == 200:
                answered.append(str(number))
        except requests.RequestException:
            pass

    with ThreadPoolExecutor(8) as pool:
        sending = [pool.submit(send, number) for number in range(300)]
        wait_until(lambda: len(answered) > 50)
        house.web.stop()
        for one in sending:
            one.result()
    house.web.start()
    kept = house.callbacks(house.get("/v1/sessions").json()["sessions"][0]["id"])
    numbers = {dict(map(tuple, callback["fields"]))["N"] for callback in kept}
    assert set(answered) <= numbers
    assert len(answered) < 300


REFUSE_ON_SQLITE = """CREATE TRIGGER refuses BEFORE INSERT ON callback
BEGIN SELECT RAISE(ABORT, 'no'); END"""
REFUSE_ON_POSTGRESQL = """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'invalid_parameter_value'; END $$;
CREATE TRIGGER refuses BEFORE INSERT ON callback FOR EACH ROW EXECUTE FUNCTION refuse()"""


def test_a_refusal_that_ends_meanwhile_takes_no_meaning_away(database_url: str, undrained: Desk) -> None:
    """Stored raw, a siprec-started starts nothing: so only what the same table would not have is."""
    other = Database(database_url)

    refuse = REFUSE_ON_SQLITE if other.is_sqlite else REFUSE_ON_POSTGRESQL
    mend = "DROP TRIGGER refuses" if other.is_sqlite else "DROP FUNCTION refuse CASCADE"

    def execute(statement: str) -> None:
        with other.begin() as db:
            db.exec_driver_sql(statement)

    mending = threading.Thread(target=execute, args=[mend])

    class Unlucky(Callback):
        def raw(self) -> Callback:
            mending.start()
            mending.join(0.3)  # if it need not wait for us, it is through by now
            return super().raw()

    callback = undrained.callback()
    execute(refuse)
    with pytest.raises(RecordRefused):
        undrained.ingest.write_refused(Unlucky(**vars(callback)), time.monotonic() + 5)
    mending.join(SECONDS)
    undrained.ingest.write([callback], time.monotonic() + 5)
    assert undrained.deliveries() == {"siprec-started": 1}
    other.close()


WRITTEN = ["session", "session_attempt", "callback", "callback_repeat", "event"]


@pytest.mark.parametrize("table", WRITTEN)
@pytest.mark.parametrize("database_kind", ["postgresql"])  # on SQLite there is one lock for all
def test_no_table_is_altered_between_a_refusal_and_what_is_stored_raw(
    database_url: str, undrained: Desk, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = Database(database_url)

    def execute(statement: str) -> None:
        with other.begin() as db:
            db.exec_driver_sql(statement)

    altering = threading.Thread(target=execute, args=[f"ALTER TABLE {table} ADD COLUMN more text"])
    seen = []

    class Unlucky(Callback):
        def raw(self) -> Callback:
            altering.start()
            altering.join(0.3)
            seen.extend([altering.is_alive(), "stored raw" in caplog.text])
            return super().raw()

    execute(REFUSE_ON_POSTGRESQL.replace("ON callback", "ON event"))
    undrained.ingest.write_refused(Unlucky(**vars(undrained.callback())), time.monotonic() + 5)
    altering.join(SECONDS)
    assert seen == [True, False]
    assert "stored raw" in caplog.text
    other.close()


def test_what_becomes_late_as_the_drain_begins_is_counted_once(
    undrained: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer has it still when it is spooled: drained meanwhile, it would be the writer's repeat."""
    desk, is_in_hand, may_go_on = undrained, threading.Event(), threading.Event()
    desk.backlog.save_later(UnsavedAnswer(new_id(), 1, "v3:call", Notice(NoticeKind.REFUSED, now())))
    desk.keep(*desk.callbacks(1))
    with desk.database.read() as db:
        session_id = db.scalar(text("SELECT session_id FROM report_sessions_v1"))
    first, late = (replace(desk.callback(Number=n), session_id=session_id) for n in ("first", "late"))
    writes, save_remembered = Writes(desk, monkeypatch), desk.backlog.save_remembered

    def hold_up(batch: list[Callback]) -> None:
        if threading.current_thread().name != "writer":
            return
        if late in batch:
            is_in_hand.set()
            wait_for(may_go_on)
        else:
            time.sleep(0.5)  # so that the late one is late before its own batch is

    def be_late(save: Callable[[UnsavedAnswer], bool]) -> None:
        assert keeping[1].result(SECONDS)  # from the spool
        save_remembered(save)

    writes.before = hold_up
    monkeypatch.setattr(desk.backlog, "save_remembered", be_late)
    with ThreadPoolExecutor(2) as pool:
        keeping = [pool.submit(desk.keep, first)]
        time.sleep(0.05)
        keeping.append(pool.submit(desk.keep, late))
        wait_for(is_in_hand)
        desk.worker.run_once(now())
        may_go_on.set()
        assert [len(one.result()) for one in keeping] == [1, 1]
    monkeypatch.setattr(desk.backlog, "save_remembered", save_remembered)
    wait_until(lambda: not desk.intake.is_late)
    desk.worker.run_once(now())
    assert desk.deliveries() == {"siprec-started": 3}
