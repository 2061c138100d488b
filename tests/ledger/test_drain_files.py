"""What became of a spool file's entries is remembered while the file is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from service.domain.callback import Callback
from service.ledger import drain
from service.store.engine import DatabaseConflict, RecordRefused, Server
from tests.ledger.desk import Desk, now
from tests.ledger.draining import Fails, dead, failing, rounds, spooled


def locked(callback: Callback, tried: list[str]) -> Fails:
    """Somebody else has the row of this one locked; `tried` are the deliveries that were written."""

    def fails(batch: list[Callback]) -> Exception | None:
        ids = [one.delivery.id for one in batch]
        tried.extend(ids)
        return DatabaseConflict("locked") if callback.delivery.id in ids else None

    return fails


def test_what_was_committed_is_not_written_again_in_the_next_round(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    callbacks, tried = desk.callbacks(200), list[str]()
    spooled(desk, *callbacks)
    with failing(desk, locked(callbacks[198], tried), monkeypatch):
        rounds(desk, 1)
        tried.clear()
        rounds(desk, 1)
    assert callbacks[198].delivery.id in tried
    assert len(tried) <= 16
    rounds(desk, 1)
    assert desk.deliveries() == {"siprec-started": 200}
    assert desk.is_drained()


def test_what_another_primary_committed_is_written_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    callbacks, tried = desk.callbacks(20), list[str]()
    spooled(desk, *callbacks)
    primary = Server("1", 1, now())
    write = desk.ingest.write

    def on_the_primary(*args: object, **options: object) -> Server:
        write(*args, **options)  # type: ignore[arg-type]
        return primary

    monkeypatch.setattr(desk.ingest, "write", on_the_primary)
    monkeypatch.setattr(desk.database, "current_server", lambda: primary)
    with failing(desk, locked(callbacks[19], tried), monkeypatch):
        rounds(desk, 1)
        primary = Server("1", 2, now())
        tried.clear()
        rounds(desk, 1)
        assert set(tried) == {callback.delivery.id for callback in callbacks}
    rounds(desk, 1)
    assert desk.is_drained()


def test_a_primary_that_changed_is_told_of_once_a_round(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spooled(desk, *desk.callbacks(200))
    old, new = Server("1", 1, now()), Server("1", 2, now())
    monkeypatch.setattr(desk.ingest, "write", lambda *_, **__: old)
    monkeypatch.setattr(desk.database, "current_server", lambda: new)
    rounds(desk, 1)
    assert len([text for text in caplog.messages if "the primary changed" in text]) == 1


def test_of_what_fails_only_a_digest_is_remembered(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback may have a megabyte."""
    spooled(desk, *desk.callbacks(3))
    with failing(desk, lambda _: ZeroDivisionError("a bug"), monkeypatch):
        rounds(desk, 3)
    assert {len(known) for known in desk.drain._suspects} == {32}


def test_what_does_not_fit_into_memory_is_written_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "MOST_REMEMBERED", 10)
    callbacks, tried = desk.callbacks(100), list[str]()
    spooled(desk, *callbacks)
    with failing(desk, locked(callbacks[99], tried), monkeypatch):
        rounds(desk, 3)
    assert not desk.is_drained()
    rounds(desk, 1)
    assert desk.deliveries() == {"siprec-started": 100}
    assert desk.is_drained()


def test_a_file_that_cannot_be_removed_makes_each_dead_letter_once_and_holds_no_other_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = desk.callbacks(2)
    spooled(desk, bad)
    desk.backlog.close()
    spooled(desk, good)

    def fails(batch: list[Callback]) -> Exception | None:
        return RecordRefused("no") if bad.delivery.id in {one.delivery.id for one in batch} else None

    with failing(desk, fails, monkeypatch), monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", unremovable(Path.unlink))
        rounds(desk, 3)
        assert desk.deliveries() == {"siprec-started": 1}
    assert [dead(desk), len(desk.backlog.dead_letters())] == [{bad.delivery.id}, 1]
    rounds(desk, 1)
    assert desk.is_drained()
    assert len(desk.backlog.dead_letters()) == 1


def unremovable(unlink: Callable[..., None]) -> Callable[..., None]:
    def fail(path: Path, **options: bool) -> None:
        if path.suffix == ".spool":
            raise PermissionError(1, "Operation not permitted")
        unlink(path, **options)

    return fail


@pytest.mark.parametrize("database_kind", ["postgresql"])  # on SQLite there is one lock for all
def test_however_many_are_locked_those_behind_them_are_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator's transaction may hold a session's row for long."""
    held, free = [desk.callback("held", Number=str(number)) for number in range(12)], desk.callbacks(80)
    spooled(desk, *held, *free[:70])
    desk.backlog.close()
    spooled(desk, *free[70:])
    ids = {callback.delivery.id for callback in held}
    tried = list[set[str]]()

    def fails(batch: list[Callback]) -> Exception | None:
        found = {one.delivery.id for one in batch} & ids
        tried.append(found)
        return DatabaseConflict("locked") if found else None

    with failing(desk, fails, monkeypatch):
        rounds(desk, 10)
        assert desk.deliveries() == {"siprec-started": 80}
        tried.clear()
        rounds(desk, 6)
        assert set().union(*tried) == ids  # each has its turn, should one be free again
        assert sum(map(bool, tried)) <= 6 * 3
    rounds(desk, 1)
    assert desk.deliveries() == {"siprec-started": 92}


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_on_sqlite_a_conflict_ends_the_round_and_the_next_goes_on_there(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is everybody's: nothing behind it would get it either."""
    callbacks, tried = desk.callbacks(12), list[str]()
    spooled(desk, *callbacks)
    with failing(desk, locked(callbacks[4], tried), monkeypatch):
        rounds(desk, 2)
    assert tried == [callback.delivery.id for callback in (*callbacks[:8], *callbacks[4:8])]
