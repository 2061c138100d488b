"""Only what is guilty becomes a dead letter, and is tried again."""

from __future__ import annotations

import errno
import random
from contextlib import suppress
from dataclasses import replace

import pytest

from service.domain.callback import Callback
from service.domain.ids import new_id
from service.domain.notice import Notice, NoticeKind
from service.ledger import spool_entry
from service.ledger.spool_entry import UnsavedAnswer
from service.spool.files import OwnFile
from service.store.engine import DatabaseConflict, DatabaseUnavailable, RecordRefused
from tests.ledger.desk import Desk, now
from tests.ledger.draining import dead, failing, rounds, spooled


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


def test_what_is_only_refused_as_it_was_read_is_stored_raw(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = desk.callbacks(2)
    spooled(desk, good, bad)

    def fails(batch: list[Callback]) -> Exception | None:
        is_bad = any(one.delivery.id == bad.delivery.id and one.event for one in batch)
        return RecordRefused("not as it was read") if is_bad else None

    with failing(desk, fails, monkeypatch):
        desk.drain.run()
    assert desk.deliveries() == {"siprec-started": 1, "None": 1}
    assert desk.backlog.dead_letters() == []


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


def test_while_no_dead_letter_can_be_kept_the_guilty_waits_and_holds_nobody_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full, and only the drain can make room."""
    assert desk.spool
    desk.spool.append([b"what is this"])
    good = desk.callback()
    spooled(desk, good)
    desk.backlog.close()
    spooled(desk, desk.callback("sid-2"))
    append = OwnFile.append

    def is_full(file: OwnFile, entries: list[bytes]) -> None:
        if file.path.suffix == ".dead":
            raise OSError(errno.ENOSPC, "No space left on device")
        append(file, entries)

    with monkeypatch.context() as patched:
        patched.setattr(OwnFile, "append", is_full)
        rounds(desk, 3)
    assert desk.deliveries() == {"siprec-started": 2}
    assert list(desk.spool.folder.glob("*.dead")) == []
    rounds(desk, 1)
    assert len(desk.backlog.dead_letters()) == 1
    assert desk.is_drained()
