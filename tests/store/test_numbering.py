"""Positions: who gets which, and when."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text, update

from service.ledger.numbering import number
from service.store import events, numbering
from service.store.engine import Database, DatabaseConflict, DatabaseUnavailable
from service.store.numbering import MOST_NUMBERED, SQLITE_MOST_NUMBERED
from service.store.tables import event
from tests.ledger.lines import add, everything, number_all, page, write, write_as_before

LATER = datetime(2999, 1, 1, tzinfo=UTC)
COVERED = [column.name for column in event.c if column.name not in {"sequence", "digest"}][:12]


def positions(database: Database) -> list[int | None]:
    """In the order of sequences."""
    return [line.position for line in everything(database)]


def test_events_are_numbered_from_one_on_in_their_order(database: Database) -> None:
    add(database, "a", "b")
    add(database, "c")
    number_all(database)
    add(database, "d", "e")
    number_all(database)
    lines = page(database, 0)
    assert [(line.position, line.subject_id) for line in lines] == [*enumerate("abcde", start=1)]
    moments = [line.numbered_at for line in lines if line.numbered_at]
    assert moments == sorted(moments)
    assert abs(moments[0] - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_on_sqlite_whoever_sees_an_event_sees_its_position(database: Database) -> None:
    add(database, "a", "b")
    add(database, "c")
    assert positions(database) == [1, 2, 3]
    assert number(database) == (0, numbering.Unnumbered())


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_what_was_undone_leaves_no_hole(database: Database) -> None:
    def undone() -> None:
        with database.begin() as db:
            write(db, "a", "b")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        undone()
    add(database, "c")
    assert positions(database) == [1]


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_what_is_committed_late_comes_behind_all_that_was_seen(database: Database) -> None:
    with database.begin() as late:
        write(late, "late")
        add(database, "a", "b")
        number_all(database)
        assert [line.subject_id for line in page(database, 0)] == ["a", "b"]
        assert number(database) == (0, numbering.Unnumbered())
    number_all(database)
    assert [(line.position, line.subject_id) for line in page(database, 2)] == [(3, "late")]
    assert positions(database) == [3, 1, 2]


def test_events_of_an_earlier_release_come_first_then_those_of_this_one(database: Database) -> None:
    with database.begin() as db:
        write_as_before(db, "a", "b")
    add(database, "a", "c")
    assert [line.position for line in everything(database)] == [None] * 4
    number_all(database)
    add(database, "d")
    with database.begin() as db:
        write_as_before(db, "e")
    add(database, "e")
    number_all(database)
    assert positions(database) == [*range(1, 8)]


def test_a_long_backlog_is_numbered_in_parts(database: Database) -> None:
    most = SQLITE_MOST_NUMBERED if database.is_sqlite else MOST_NUMBERED
    with database.begin() as db:
        write_as_before(db, *"a" * (2 * most + 1))
    given, left = number(database)
    assert (given, left.count) == (most, 2 * most + 1)
    assert number(database)[0] == most
    assert number(database) == (1, numbering.Unnumbered())
    assert positions(database) == [*range(1, 2 * most + 2)]


def test_the_time_of_numbering_never_goes_back_though_the_clock_does(database: Database) -> None:
    add(database, "a")
    number_all(database)
    with database.begin() as db:
        db.execute(update(event).values(numbered_at=LATER))
        write_as_before(db, "b")
    number_all(database)
    add(database, "c")
    number_all(database)
    assert [line.numbered_at for line in page(database, 0)] == [LATER] * 3


def test_nothing_else_of_an_event_changes_and_its_digest_covers_it(database: Database) -> None:
    query = select(event).order_by(event.c.sequence)
    with database.begin() as db:
        write_as_before(db, "a", "b")
        before = [dict(row) for row in db.execute(query).mappings()]
    number_all(database)
    with database.read() as db:
        after = [dict(row) for row in db.execute(query).mappings()]
    for old, new in zip(before, after, strict=True):
        assert {name for name in old if old[name] != new[name]} == {"position", "numbered_at"}
        assert events.digest({name: new[name] for name in COVERED}) == new["digest"]


# On PostgreSQL, one at a time

postgresql = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


@postgresql
def test_while_somebody_numbers_others_do_not_wait(database: Database) -> None:
    add(database, "a", "b")
    with database.begin() as db:
        assert numbering.take_turn(db)
        began = time.monotonic()
        given, left = number(database)
        assert (given, left.count) == (0, 2)
        assert time.monotonic() - began < 0.3
        assert numbering.number(db) == 2
    assert number(database) == (0, numbering.Unnumbered())
    assert positions(database) == [1, 2]


@postgresql
def test_whose_turn_comes_later_sees_what_was_given_before(database: Database) -> None:
    """His transaction began earlier, and his snapshot of then would have him give the same numbers again."""
    add(database, "a")
    with database.begin() as db:
        assert numbering.unnumbered(db).count == 1
        assert number(database) == (1, numbering.Unnumbered())
        add(database, "b")
        assert numbering.take_turn(db)
        assert numbering.number(db) == 1
    assert positions(database) == [1, 2]


@postgresql
def test_a_lock_of_somebody_else_is_a_conflict_and_no_outage(database: Database) -> None:
    add(database, "a")
    with database.begin() as db:
        db.execute(text("SELECT sequence FROM event FOR UPDATE"))
        with pytest.raises(DatabaseConflict):
            number(database)
    assert database.breaker.takes_writes
    assert number(database)[0] == 1


@postgresql
def test_numbering_that_takes_too_long_is_no_outage(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(database, "a")
    slow = numbering._NUMBER_ON_POSTGRESQL.replace(
        "WHERE event.sequence", "WHERE pg_sleep(3) IS NOT NULL AND event.sequence"
    )
    monkeypatch.setattr(numbering, "_NUMBER_ON_POSTGRESQL", slow)
    with pytest.raises(DatabaseUnavailable, match="too long"):
        number(database)
    assert database.breaker.takes_writes


@postgresql
def test_it_finds_what_is_unnumbered_by_an_index_that_it_scans(database: Database) -> None:
    """However many are numbered, also when the table was last analyzed."""
    with database.begin() as db:
        write_as_before(db, *"a" * 3000)
    while number(database)[1].count:
        pass
    with database.begin(time.monotonic() + 5) as db:
        db.execute(text("ANALYZE event"))
        numbering.prepare(db)
        for statement in (numbering._LOOK_ON_POSTGRESQL, numbering._NUMBER_ON_POSTGRESQL):
            plan = "\n".join(db.scalars(text(f"EXPLAIN {statement}")))
            assert "Scan using event_unnumbered" in plan, plan
            for other in ("Seq Scan", "Bitmap", "Sort"):
                assert other not in plan, plan


@postgresql
def test_what_was_numbered_long_ago_is_not_looked_at_again(database: Database) -> None:
    """Though nobody has vacuumed: else each look would take longer than the one before."""
    with database.begin() as db:
        db.execute(text("ALTER TABLE event SET (autovacuum_enabled = off)"))
    for _ in range(20):
        add(database, *"a" * 500)
        number_all(database)
    with database.begin(time.monotonic() + 5) as db:
        numbering.prepare(db)
        look = f"EXPLAIN (ANALYZE, BUFFERS) {numbering._LOOK_ON_POSTGRESQL}"
        plan = "\n".join(db.scalars(text(look)))
        found = re.search(r"hit=(\d+)", plan)
        assert found
        assert int(found[1]) < 50, plan  # pages; the table has 400


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_on_sqlite_too(database: Database) -> None:
    with database.begin() as db:
        for statement in (numbering._LOOK_ON_SQLITE, numbering._NUMBER_ON_SQLITE):
            plan = [str(row[3]) for row in db.execute(text(f"EXPLAIN QUERY PLAN {statement}"))]
            scans = [line for line in plan if line.startswith("SCAN event") and "INDEX" not in line]
            assert not scans, plan
