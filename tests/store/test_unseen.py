"""What the watch has to do is seen without reading through the events or all that is awaited."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from service.domain.overdue import OverdueKind
from service.store import due, unseen
from service.store.batch import Batch
from service.store.columns import written_out
from service.store.due import NEVER, Due
from service.store.engine import Database
from service.store.processes import now_of
from service.store.tables import event
from tests.bench import bulk

COUNT = 3000
OLD = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = (
    *("subject_kind", "subject_id", "kind", "actor", "correction", "changes", "state"),
    *("happened_at", "written_at", "digest", "position", "numbered_at"),
)


def fill(database: Database) -> None:
    """Events that were all seen, and as many rows of which none is due."""
    with bulk.filling(database) as filled:
        moment = written_out(OLD)
        filled.add(event, COLUMNS, [_event(number, moment) for number in range(1, COUNT + 1)])
        filled.db.execute(text(f"UPDATE watch SET position = {COUNT}"))
    with database.begin() as db:
        batch = Batch(db)
        later = [NEVER, now_of(db) + timedelta(hours=1)]
        rows = [Due(f"s{at}", OverdueKind.NOT_ENDED, OLD, later[at % 2]) for at in range(COUNT)]
        due.put(batch, rows)
        batch.write()


def _event(number: int, moment: str) -> tuple[object, ...]:
    said = (
        "session",
        f"s{number}",
        "changed",
        "telnyx",
        False,
        '{"state":["accepted","started"]}',
        "started",
    )
    return (*said, moment, moment, number.to_bytes(32, "big"), number, moment)


def looked_at(db: Connection) -> int:
    """Rows, by this transaction."""
    rows = "SELECT SUM(seq_tup_read + COALESCE(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"
    return int(db.scalar(text(rows)) or 0)


def test_it_says_what_there_is_to_do(database: Database) -> None:
    fill(database)
    with database.read() as db:
        assert unseen.work(db) == (False, False)
    with database.begin() as db:
        unseen.move(db, COUNT - 1)
    with database.read() as db:
        assert unseen.work(db) == (True, False)
    with database.begin() as db:
        unseen.move(db, COUNT)
        db.execute(text("UPDATE due SET next_at = since WHERE session_id = 's7'"))
    with database.read() as db:
        assert unseen.work(db) == (False, True)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_where_there_is_nothing_to_do_hardly_a_row_is_looked_at(database: Database) -> None:
    fill(database)
    with database.read() as db:
        before = looked_at(db)
        unseen.work(db)
        assert looked_at(db) - before < 10


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_of_what_was_numbered_no_more_is_looked_at_than_is_asked_for(database: Database) -> None:
    fill(database)
    with database.begin() as db:
        due.prepare(db)
        before = looked_at(db)
        found = unseen.see(db, 100, 120)
        assert looked_at(db) - before < 30
    assert list(found) == [f"s{number}" for number in range(101, 121)]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_on_sqlite_too(database: Database) -> None:
    fill(database)
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    with database.begin() as db:
        db.connection.driver_connection.set_progress_handler(step, 100)  # type: ignore[union-attr]
        unseen.work(db)
        found = unseen.see(db, 100, 120)
        db.connection.driver_connection.set_progress_handler(None, 0)  # type: ignore[union-attr]
    assert len(found) == 20
    assert steps < 20  # of a hundred instructions each: to read all takes ten times as many
