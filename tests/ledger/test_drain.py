"""The drain: what waits is written once the database takes it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from service.domain.callback import Callback
from service.store.engine import DatabaseConflict, DatabaseUnavailable, Server
from tests.ledger.desk import Desk, again, now
from tests.ledger.draining import failing, rounds, spooled


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


def test_what_was_committed_before_and_names_its_session_is_counted_once(desk: Desk) -> None:
    started = desk.callback()
    desk.ingest.write([started])
    with desk.database.read() as db:
        session_id = db.scalar(text("SELECT id FROM session"))
    stopped = [replace(desk.callback(event="siprec-stopped", N=f"{n}"), session_id=session_id) for n in "123"]
    repeat = again(stopped[0], 1)
    desk.ingest.write([stopped[0], *repeat])
    spooled(desk, *stopped, *repeat, stopped[1])
    assert desk.drain.run() == 5
    assert desk.deliveries() == {"siprec-started": 1, "siprec-stopped": 4}
