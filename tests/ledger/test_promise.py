"""The two numbers of the promise: they differ where a row is missing, and never where only a count is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import delete, insert, text

from service.domain.callback import Callback
from service.domain.ids import new_id, period_at, period_before, period_begin
from service.ledger import promise, wellness
from service.ledger.answered import Answered
from service.ledger.promise import Promise
from service.store import answer_counts, processes
from service.store.engine import Database
from service.store.tables import callback, callback_repeat
from service.store.watch_tables import spool
from tests.ledger.desk import Desk, now

LATELY = timedelta(minutes=10)


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database, None)


def received(came: Callback, at: datetime) -> Callback:
    """As if it had come then."""
    id = f"{period_at(at)}{new_id()[8:]}"
    return replace(came, delivery=replace(came.delivery, id=id, received_at=at))


def some(desk: Desk, count: int, ago: timedelta = LATELY) -> list[Callback]:
    return [received(one, now() - ago) for one in desk.callbacks(count)]


def answer(desk: Desk, batch: Sequence[Callback], process: str = "process-1") -> None:
    """As the endpoint and the heartbeat do it."""
    counts = Answered()
    for one in batch:
        counts.count(one.delivery.id)
    with desk.database.begin() as db:
        answer_counts.save(db, process, counts.unsaved())


def look(desk: Desk) -> Promise:
    with desk.database.read() as db:
        return promise.of(db, processes.now_of(db))


def lose(desk: Desk, lost: Callback) -> None:
    """Behind the service's back."""
    with desk.database.begin() as db:
        db.execute(delete(callback).where(callback.c.id == lost.delivery.id))


def wait_on_disk(desk: Desk, entries: int) -> None:
    with desk.database.begin() as db:
        row = {"id": "1", "host": "host-b", "entries": entries, "dead_letters": 0}
        db.execute(insert(spool).values(row | {"seen_at": processes.now_of(db)}))


def numbers(found: Promise) -> tuple[int, int, int]:
    """Answered 200, shown, missing."""
    return found.answered, found.shown, found.missing


def test_what_was_answered_and_is_stored_agrees(desk: Desk) -> None:
    first, second, third = some(desk, 3)
    again = received(first, now())  # which the ledger keeps as a repeat of the first
    for batch, process in (([first, second, again], "process-1"), ([third], "process-2")):
        desk.ingest.write(batch)
        answer(desk, batch, process)
    assert numbers(look(desk)) == (4, 4, 0)


def test_a_stored_callback_that_is_deleted_is_missed(desk: Desk) -> None:
    batch = some(desk, 3)
    desk.ingest.write(batch)
    answer(desk, batch)
    lose(desk, batch[1])
    assert numbers(look(desk)) == (3, 2, 1)
    with desk.database.read() as db:
        found = wellness.look(db, processes.now_of(db))
    assert "1 callback is missing: answered 200, and not stored." in [one.words for one in found.reasons]


def test_so_is_a_repeat(desk: Desk) -> None:
    (first,) = some(desk, 1)
    again = received(first, now() - LATELY)
    desk.ingest.write([first, again])
    answer(desk, [first, again])
    with desk.database.begin() as db:
        db.execute(delete(callback_repeat))
    assert numbers(look(desk)) == (2, 1, 1)


def test_one_that_was_never_stored_is_missed(desk: Desk) -> None:
    answer(desk, some(desk, 1))
    assert numbers(look(desk)) == (1, 0, 1)


def test_what_a_process_counted_before_it_died_is_no_loss(desk: Desk) -> None:
    batch = some(desk, 3)
    desk.ingest.write(batch)
    answer(desk, batch[:1])
    assert numbers(look(desk)) == (3, 3, 0)


def test_nor_does_it_hide_what_is_missing_of_another_time(desk: Desk) -> None:
    uncounted, batch = some(desk, 3, timedelta(hours=2)), some(desk, 2)
    desk.ingest.write([*uncounted, *batch])
    answer(desk, batch)
    lose(desk, batch[0])
    assert numbers(look(desk)) == (5, 4, 1)


def test_what_waits_on_a_disk_is_not_missing(desk: Desk) -> None:
    batch = some(desk, 3)
    desk.ingest.write(batch[:1])
    answer(desk, batch)
    wait_on_disk(desk, 2)
    found = look(desk)
    assert numbers(found) == (3, 1, 0)
    assert found.waiting == 2


def test_what_a_lost_host_held_is_missing_once_it_is_retired(desk: Desk) -> None:
    answer(desk, some(desk, 2))
    wait_on_disk(desk, 2)
    with desk.database.begin() as db:
        db.execute(spool.update().values(retired_at=processes.now_of(db)))
    assert numbers(look(desk)) == (2, 0, 2)


def test_what_was_answered_a_moment_ago_may_be_on_its_way(desk: Desk) -> None:
    answer(desk, some(desk, 2, timedelta(0)))
    found = look(desk)
    assert (found.answered, found.shown, found.unsettled, found.missing) == (2, 0, 2, 0)


def test_what_was_rejected_and_is_stored_after_all_was_not_answered_200(desk: Desk) -> None:
    (kept,) = some(desk, 1)
    (judged_again,) = some(desk, 1)
    rejected = replace(judged_again, delivery=replace(judged_again.delivery, answered=403))
    desk.ingest.write([kept, rejected])
    answer(desk, [kept])
    lose(desk, kept)
    assert numbers(look(desk)) == (1, 0, 1)


def test_of_many_the_newest_are_compared_and_it_says_since_when(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_counts, "MOST_LOOKED_AT", 4)
    for hours in (4, 3, 2, 1):
        batch = some(desk, 2, timedelta(hours=hours))
        desk.ingest.write(batch)
        answer(desk, batch)
    lose(desk, batch[0])
    found = look(desk)
    # Of those three hours ago it has seen one, so that they are left out.
    assert numbers(found) == (4, 3, 1)
    assert not found.is_day
    assert timedelta(hours=2) < now() - found.since < timedelta(hours=3)


def test_however_many_come_what_is_missing_of_the_last_minutes_is_seen(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_counts, "MOST_LOOKED_AT", 4)
    moment = now()
    last_settled = period_begin(period_before(period_at(moment - promise.SETTLED_AFTER)))
    settled, fresh = some(desk, 3, moment - last_settled - timedelta(seconds=1)), some(desk, 6, timedelta())
    for batch in (settled, fresh):
        desk.ingest.write(batch)
        answer(desk, batch)
    lose(desk, settled[0])
    with desk.database.read() as db:
        found = promise.of(db, moment)
    assert (numbers(found), found.since) == ((9, 8, 1), last_settled)


def test_of_a_day_ago_nothing_is_compared(desk: Desk) -> None:
    answer(desk, some(desk, 1, timedelta(hours=25)))
    assert numbers(look(desk)) == (0, 0, 0)


def test_a_count_that_the_database_lost_is_saved_again(desk: Desk) -> None:
    counts = Answered()
    for one in some(desk, 2):
        counts.count(one.delivery.id)
    for _ in range(2):
        with desk.database.begin() as db:
            db.execute(text("DELETE FROM answer_count"))
            answer_counts.save(db, "process-1", counts.unsaved())
    assert numbers(look(desk)) == (2, 0, 2)


def test_old_counts_are_forgotten(desk: Desk) -> None:
    answer(desk, some(desk, 1, timedelta(hours=20)))
    answer(desk, some(desk, 1))
    with desk.database.begin() as db:
        answer_counts.forget(db, period_at(now() - timedelta(hours=10)))
        assert sum(answer_counts.answered(db, "").values()) == 1
