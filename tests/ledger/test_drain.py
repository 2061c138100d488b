"""The drain: what waits is written once the database takes it, and only what is guilty dies."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.domain import session as domain
from service.domain.callback import Callback
from service.domain.ids import new_id
from service.domain.order import Order
from service.domain.session import Notice, NoticeKind, Origin, State
from service.ledger import spool_entry
from service.ledger.spool_entry import UnsavedAnswer
from service.spool import Spool
from service.store import keys, sessions
from service.store.engine import Database, DatabaseConflict, DatabaseUnavailable, RecordRefused, Server
from service.store.sessions import IdempotencyKey
from tests.bed.web import CHECKOUT
from tests.house import wait_until
from tests.ledger.desk import LIMIT, Desk, again, lose, now

Fails = Callable[[list[Callback]], Exception | None]


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    """Nothing runs by itself."""
    return Desk(database, tmp_path / "spool")


@contextmanager
def failing(desk: Desk, fails: Fails, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """`fails` tells what a batch ends with, after which the database is left, as the engine does it.

    Yields the sizes of the batches that were tried.
    """
    write, sizes = desk.ingest.write, []

    def stand_before(batch: list[Callback], *args: Any, **options: Any) -> object:
        sizes.append(len(batch))
        error = fails(batch)
        if isinstance(error, DatabaseUnavailable) and not isinstance(error, DatabaseConflict):
            lose(desk.database, str(error))
        if error:
            raise error
        return write(batch, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(desk.ingest, "write", stand_before)
        yield sizes


def rounds(desk: Desk, count: int) -> None:
    """Of the drain, as its worker makes them, without the pauses; at most so many."""
    for _ in range(count):
        if not desk.backlog.is_waiting:
            return
        try:
            desk.drain.run(may_probe=True)
        except Exception:
            continue


def spooled(desk: Desk, *callbacks: Callback) -> None:
    desk.backlog.save(callbacks)


def dead(desk: Desk) -> set[str]:
    """The delivery ids of dead letters."""
    found = (letter.entry for letter in desk.backlog.dead_letters())
    return {entry.delivery.id for entry in found if isinstance(entry, Callback)}


def test_what_waits_is_drained_once_and_in_a_few_transactions(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    callbacks = desk.callbacks(100)
    spooled(desk, *callbacks, *again(callbacks[0], 3), *callbacks[:50])
    with failing(desk, lambda _: None, monkeypatch) as sizes:
        assert desk.drain.run() == 153
    assert len(sizes) <= (42 if desk.database.is_sqlite else 6)
    assert desk.deliveries() == {"siprec-started": 103}
    assert desk.depth.entries == 0


def test_only_what_is_guilty_becomes_a_dead_letter_and_holds_nobody_up(desk: Desk) -> None:
    unsaved = UnsavedAnswer(
        new_id(), 1, "v3:call-1", Notice(NoticeKind.ACCEPTED, received_at=now(), siprec_sid="sid-1")
    )
    assert desk.spool
    desk.spool.append([b"what is this", spool_entry.pack(unsaved)])
    started, failed, stopped = (desk.callback(event=f"siprec-{e}") for e in ("started", "failed", "stopped"))
    spooled(desk, started, replace(failed, verified_by=None), stopped)  # type: ignore[arg-type]
    desk.drain.run()
    assert desk.deliveries() == {"siprec-started": 1, "siprec-stopped": 1}
    assert desk.depth.entries == 0
    reasons = [
        letter.reason.text.partition(":")[0] for letter in desk.backlog.dead_letters() if letter.reason
    ]
    assert sorted(reasons) == ["RecordRefused", "UnknownSession", "UnreadableEntry"]


def test_what_is_only_refused_as_it_was_read_is_stored_raw(desk: Desk) -> None:
    good, bad = desk.callbacks(2)
    entry = spool_entry.pack(bad)
    assert desk.spool
    desk.spool.append([spool_entry.pack(good), entry])
    write = desk.ingest.write

    def refuse(batch: list[Callback], *args: Any, **options: Any) -> object:
        if any(one.delivery.id == bad.delivery.id and one.event for one in batch):
            raise RecordRefused("not as it was read")
        return write(batch, *args, **options)

    desk.ingest.write = refuse  # type: ignore[method-assign,assignment]
    desk.drain.run()
    assert desk.deliveries() == {"siprec-started": 1, "None": 1}
    assert desk.backlog.dead_letters() == []


@pytest.mark.parametrize("reason", ["read-only", "no such column", "permission denied", "disk full"])
def test_while_the_database_is_unavailable_everything_waits_and_nothing_dies(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    spooled(desk, *desk.callbacks(70))
    with failing(desk, lambda _: DatabaseUnavailable(reason), monkeypatch):
        rounds(desk, 40)
    assert desk.backlog.dead_letters() == []
    rounds(desk, 1)
    assert desk.deliveries() == {"siprec-started": 70}
    assert desk.database.breaker.takes_writes


def test_while_the_database_does_not_answer_it_is_asked_once_in_the_first_round(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled(desk, *desk.callbacks(70))
    with failing(desk, lambda _: DatabaseUnavailable("gone"), monkeypatch) as sizes:
        rounds(desk, 1)
        assert len(sizes) == 1
        rounds(desk, 20)
        assert max(sizes[-30:]) <= 64
        assert len(sizes) < 20 * 12


@pytest.mark.parametrize("error", [DatabaseUnavailable("canceling statement"), ZeroDivisionError("a bug")])
def test_what_fails_alone_while_others_are_committed_becomes_a_dead_letter(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    callbacks = desk.callbacks(150)
    guilty = {callbacks[3].delivery.id, callbacks[4].delivery.id, callbacks[149].delivery.id}
    spooled(desk, *callbacks)

    def fails(batch: list[Callback]) -> Exception | None:
        return error if any(one.delivery.id in guilty for one in batch) else None

    with failing(desk, fails, monkeypatch):
        rounds(desk, 60)
    assert dead(desk) == guilty
    assert desk.deliveries() == {"siprec-started": 147}
    assert desk.depth.entries == 0


def test_what_fails_alone_while_nobody_else_is_committed_waits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled(desk, desk.callback())
    with failing(desk, lambda _: ZeroDivisionError("who knows"), monkeypatch):
        rounds(desk, 20)
    assert desk.backlog.dead_letters() == []
    rounds(desk, 1)
    assert desk.deliveries() == {"siprec-started": 1}


def test_a_bug_that_fails_for_every_entry_makes_no_dead_letters(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled(desk, *desk.callbacks(30))
    with failing(desk, lambda _: OSError(24, "Too many open files"), monkeypatch) as sizes:
        rounds(desk, 20)
    assert desk.backlog.dead_letters() == []
    assert len(sizes) < 20 * 15


@pytest.mark.parametrize("database_kind", ["postgresql"])  # on SQLite there is one lock for all
def test_what_somebody_elses_lock_holds_up_waits_and_holds_no_other_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    callbacks = desk.callbacks(20)
    spooled(desk, *callbacks)

    def fails(batch: list[Callback]) -> Exception | None:
        return (
            DatabaseConflict("locked")
            if callbacks[7].delivery.id in {one.delivery.id for one in batch}
            else None
        )

    with failing(desk, fails, monkeypatch):
        rounds(desk, 10)
    assert desk.deliveries() == {"siprec-started": 19}
    assert desk.backlog.dead_letters() == []
    assert desk.database.breaker.takes_writes
    rounds(desk, 1)
    assert desk.deliveries() == {"siprec-started": 20}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_database_that_comes_and_goes_makes_no_dead_letter_of_an_innocent(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice = random.Random(seed)
    callbacks = desk.callbacks(40)
    guilty = {one.delivery.id for one in dice.sample(callbacks, seed % 3)}
    spooled(desk, *callbacks[:20])
    desk.backlog.close()
    spooled(desk, *callbacks[20:])
    left = {"up": 0, "down": 0}  # how many transactions until it goes, or comes back

    def fails(batch: list[Callback]) -> Exception | None:
        if left["down"] == 0 and left["up"] == 0:
            left.update(up=dice.randrange(20), down=dice.randrange(40))
        if left["up"]:
            left["up"] -= 1
            return ZeroDivisionError() if any(one.delivery.id in guilty for one in batch) else None
        left["down"] = max(0, left["down"] - 1)
        return DatabaseUnavailable("it has gone")

    with failing(desk, fails, monkeypatch):
        rounds(desk, 200)
    assert dead(desk) == guilty
    assert desk.deliveries() == {"siprec-started": 40 - len(guilty)}


@pytest.mark.parametrize("where", ["written", "current"])
def test_a_file_stays_if_the_primary_was_another_meanwhile(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """An old primary that wakes up takes a batch, and the rest goes to the new one."""
    spooled(desk, *desk.callbacks(100))
    old, new = Server("1", 1, now()), Server("1", 2, now())
    write = desk.ingest.write
    count = 0

    def on_the_old_one(*args: Any, **options: Any) -> Server:
        nonlocal count
        count += 1
        write(*args, **options)
        return old if count == 1 and where == "written" else new

    with monkeypatch.context() as patched:
        patched.setattr(desk.ingest, "write", on_the_old_one)
        servers = iter([old, new] if where == "current" else [new, new])
        patched.setattr(desk.database, "current_server", lambda: next(servers))
        assert desk.drain.run() == 0
        assert desk.depth.entries == 100
        patched.setattr(desk.database, "current_server", lambda: new)
        assert desk.drain.run() == 100
    assert desk.depth.entries == 0
    assert desk.deliveries() == {"siprec-started": 100}


def test_a_dead_letter_that_is_retried_while_others_wait_is_stored(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, waits = desk.callback(), desk.callback("sid-2")
    spooled(desk, bad, waits)

    def fails(batch: list[Callback]) -> Exception:
        is_bad = bad.delivery.id in {callback.delivery.id for callback in batch}
        return RecordRefused("not yet") if is_bad else DatabaseConflict("somebody has it locked")

    with failing(desk, fails, monkeypatch), suppress(DatabaseConflict):
        desk.drain.run()
    assert dead(desk) == {bad.delivery.id}
    assert desk.spool
    assert desk.spool.retry() == 1
    desk.drain.run()
    assert desk.deliveries() == {"siprec-started": 2}
    assert desk.is_drained()


def test_dead_letters_are_tried_again_at_each_start(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = desk.callback()
    spooled(desk, bad)
    with failing(desk, lambda _: RecordRefused("this release does not take it"), monkeypatch):
        desk.worker.run_once(now())
    assert dead(desk) == {bad.delivery.id}
    desk.worker.run_once(now())
    assert desk.deliveries() == {}
    assert desk.spool
    restarted = Desk(desk.database, desk.spool.folder)
    restarted.worker.run_once(now())
    assert restarted.deliveries() == {"siprec-started": 1}
    assert (restarted.depth.dead_letters, restarted.depth.entries) == (0, 0)


def test_an_answer_in_memory_is_saved_even_behind_one_that_cannot_be(database: Database) -> None:
    desk, moment = Desk(database, spool=None), now()
    order = Order("account-1", "v3:call-1")
    asked = domain.Session(
        new_id(), Origin.API, order, moment, moment, deadline_at=moment + timedelta(minutes=1)
    )
    with database.begin() as db:
        keys.create(db, "an app", moment)
        sessions.insert(db, asked, IdempotencyKey(keys.listed(db)[0].id))
    for session_id in (new_id(), asked.id):  # of the first, the ledger knows nothing
        answer = Notice(NoticeKind.ACCEPTED, received_at=now(), siprec_sid="sid-1")
        desk.backlog.save_later(UnsavedAnswer(session_id, asked.attempts, order.call_sid, answer))
    assert desk.backlog.is_waiting
    desk.worker.run_once(now())
    with database.read() as db:
        saved = sessions.find(db, asked.id)
    assert saved is not None
    assert saved.progress.state is State.ACCEPTED
    assert not desk.backlog.is_waiting


def test_answers_in_memory_go_to_the_disk_at_the_end_if_it_takes_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Notice(NoticeKind.ACCEPTED, received_at=now(), siprec_sid="sid-1")
    unsaved = UnsavedAnswer(new_id(), 1, "v3:call-1", answer)
    assert desk.spool
    with monkeypatch.context() as patched:
        patched.setattr(desk.spool, "_limit", 0)
        desk.backlog.save_later(unsaved)
        assert desk.depth.entries == 0
    desk.backlog.close()
    (packed,) = Spool.read(desk.spool, desk.spool.files(".spool")[0])
    assert spool_entry.unpack(packed) == unsaved


# The one who finds out that the database is back


def test_in_silence_the_heartbeat_is_the_probe(desk: Desk) -> None:
    desk.worker.run_once(now())
    lose(desk.database, "it was gone")
    wait_until(lambda: _is_probed(desk), seconds=2)


def test_the_oldest_that_waits_is_the_probe_and_nothing_else_is_tried(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat that goes through must not call back a database that takes no callbacks."""
    spooled(desk, *desk.callbacks(3))
    lose(desk.database, "no grant on callback")
    with failing(desk, lambda _: DatabaseUnavailable("permission denied"), monkeypatch) as sizes:
        wait_until(lambda: _fails(desk), seconds=2)
        assert not desk.database.breaker.takes_writes
        desk.worker.run_once(now())  # too early for the next probe
        assert sizes == [3]
    wait_until(lambda: _is_probed(desk))
    assert desk.deliveries() == {"siprec-started": 3}


def _fails(desk: Desk) -> bool:
    with suppress(DatabaseUnavailable):
        desk.worker.run_once(now())
        return False
    return True


def _is_probed(desk: Desk) -> bool:
    desk.worker.run_once(now())
    return desk.database.breaker.takes_writes


# Several processes

DRAINS = """
import sys, time
from pathlib import Path
from service.store.engine import Database
from tests.ledger.desk import Desk, now

desk = Desk(Database(sys.argv[1], 5), Path(sys.argv[2]))
print("ready", flush=True)
while True:
    desk.worker.run_once(now())
    time.sleep(0.01)
"""


def drainer(url: str, folder: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", DRAINS, url, str(folder)],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    return process


def test_a_newcomer_and_the_living_drain_what_dead_processes_left(
    database_url: str, desk: Desk, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    for number in range(10):
        left = Spool(folder, LIMIT)
        left.append([spool_entry.pack(desk.callback(Number=f"{number}-{n}")) for n in range(20)])
        left.close()
    drainers = [drainer(database_url, folder) for _ in range(2)]
    try:
        wait_until(desk.is_drained)
    finally:
        for process in drainers:
            _kill(process)
    assert desk.deliveries() == {"siprec-started": 200}


def test_a_drain_that_is_killed_again_and_again_counts_nothing_twice(
    database_url: str, desk: Desk, tmp_path: Path
) -> None:
    folder, dice = tmp_path / "spool", random.Random(1)
    callbacks = desk.callbacks(300)
    for start in range(0, 300, 100):
        spooled(desk, *callbacks[start : start + 100], *again(callbacks[start], 5))
        desk.backlog.close()
    for _ in range(6):
        process = drainer(database_url, folder)
        time.sleep(dice.random() * 0.2)
        _kill(process)
    rounds(desk, 3)
    assert desk.is_drained()
    assert desk.deliveries() == {"siprec-started": 315}


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_on_sqlite_the_drain_never_holds_the_write_lock_for_long(desk: Desk) -> None:
    """Callbacks wait meanwhile."""
    spooled(desk, *[desk.callback(sid=f"sid-{n % 5}", Number=str(n)) for n in range(400)])
    held: list[float] = []
    begin = desk.database.begin

    @contextmanager
    def timed(*args: Any, **options: Any) -> Iterator[Any]:
        with begin(*args, **options) as db:
            began = time.thread_time()  # other programs may run meanwhile
            yield db
        held.append(time.thread_time() - began)

    desk.database.begin = timed  # type: ignore[method-assign]
    desk.drain.run()
    assert statistics.median(held) < 0.1, held
