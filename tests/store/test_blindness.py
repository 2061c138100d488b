"""When an absence proves nothing, in which words, and for how long."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import insert, select, update

from service.store import blind_periods, blindness, processes, spools
from service.store.blind_periods import Why
from service.store.blindness import Blindness
from service.store.engine import Database
from service.store.spools import SeenSpool
from service.store.tables import process
from service.store.watch_tables import blind_period, spool


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def clock(database: Database) -> datetime:
    with database.read() as db:
        return processes.now_of(db)


def beat(database: Database, host: str, entries: int = 0, ago: float = 0, id: str | None = None) -> None:
    """As if it had been so long ago."""
    beat_at(database, host, entries, clock(database) - seconds(ago), id)


def beat_at(database: Database, host: str, entries: int, moment: datetime, id: str | None = None) -> None:
    with database.begin() as db:
        spools.beat(db, SeenSpool(id or f"spool of {host}", host, entries, None, 0), moment)


def period(database: Database, why: Why, began: float, ended: float, host: str | None = None) -> None:
    """From and to so many seconds ago."""
    with database.begin() as db:
        now = processes.now_of(db)
        blind_periods.save(db, f"{why} {began}", host, why, now - seconds(began), now - seconds(ended))


def since(database: Database, ago: float) -> Blindness | None:
    with database.read() as db:
        return blindness.since(db, processes.now_of(db) - seconds(ago))


def written(database: Database, ago: float) -> str:
    now = clock(database)
    then = now - seconds(ago)
    return f"{then:%H:%M}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M}"


def test_nothing_is_blind_where_all_hosts_are_seen_and_nothing_waits(database: Database) -> None:
    assert since(database, 60) is None
    beat(database, "a")
    beat(database, "b", ago=10)
    assert since(database, 86400) is None


def test_callbacks_may_wait_where_a_spool_has_entries(database: Database) -> None:
    beat(database, "b", entries=1)
    assert since(database, 5) == Blindness("callbacks may still wait on host b", is_decided=False)
    beat(database, "b")
    assert since(database, 5) is None


def test_dead_letters_are_callbacks_that_wait_too(database: Database) -> None:
    letters_at(database, 1, clock(database))
    assert since(database, 5) == Blindness("callbacks may still wait on host b", is_decided=False)
    letters_at(database, 0, clock(database))
    began = clock(database) - seconds(610)
    for after in range(0, 610, 10):
        letters_at(database, 1, began + seconds(after))
    letters_at(database, 1, clock(database))
    blind = since(database, 5)
    assert blind is not None
    assert blind.is_decided
    assert blind.words.startswith("callbacks have waited on host b since ")
    letters_at(database, 0, clock(database))
    assert since(database, 5) is None


def letters_at(database: Database, dead_letters: int, moment: datetime) -> None:
    with database.begin() as db:
        spools.beat(db, SeenSpool("spool of b", "b", 0, None, dead_letters), moment)


def test_they_may_wait_on_a_host_that_is_not_seen_though_nothing_waited_then(database: Database) -> None:
    beat(database, "b", ago=20)
    assert since(database, 5) == Blindness("callbacks may still wait on host b", is_decided=False)


def test_a_host_that_is_not_seen_for_ten_minutes_is_named(database: Database) -> None:
    beat(database, "b", entries=3, ago=590)
    assert since(database, 5) == Blindness("callbacks may still wait on host b", is_decided=False)
    beat(database, "b", entries=3, ago=605)
    words = f"host b was not seen since {written(database, 605)}; what waits there is not counted"
    assert since(database, 5) == Blindness(words, is_decided=True)


def test_a_date_is_named_where_it_is_not_today(database: Database) -> None:
    beat(database, "b", entries=3, ago=2 * 86400)
    blind = since(database, 5)
    assert blind is not None
    assert f"since {clock(database) - seconds(2 * 86400):%Y-%m-%d} " in blind.words


def test_a_spool_that_drains_is_waited_for_from_when_the_host_came_back(database: Database) -> None:
    beat(database, "b", entries=3, ago=3600)
    beat(database, "b", entries=3)
    assert since(database, 5) == Blindness("callbacks may still wait on host b", is_decided=False)


def test_what_waits_for_ten_minutes_though_its_host_is_there_is_decided(database: Database) -> None:
    began = clock(database) - seconds(610)
    for after in range(0, 610, 10):
        beat_at(database, "b", 1, began + seconds(after))
    beat(database, "b", entries=1)
    blind = since(database, 5)
    assert blind is not None
    assert blind.is_decided
    assert blind.words.startswith("callbacks have waited on host b since ")
    assert f"{began:%H:%M}; they are not counted" in blind.words


def test_that_a_host_was_not_seen_says_nothing_while_the_database_heard_of_nobody(database: Database) -> None:
    beat(database, "b", entries=1, ago=3600)
    period(database, Why.SILENT, 3600, 1, host="a")
    assert since(database, 3000) == Blindness("callbacks may still wait on host b", is_decided=False)


def test_an_outage_of_the_database_alone_makes_nothing_unsure(database: Database) -> None:
    period(database, Why.SILENT, 3600, 1, host="a")
    assert since(database, 3000) is None


def test_a_retired_host_is_decided_at_once_and_of_no_interest_to_what_comes_later(database: Database) -> None:
    beat(database, "b", entries=1, ago=30)
    with database.begin() as db:
        db.execute(update(spool).values(retired_at=processes.now_of(db) - seconds(10)))
    words = f"host b was not seen since {written(database, 30)}; what waits there is not counted"
    assert since(database, 20) == Blindness(words, is_decided=True)
    assert since(database, 5) is None
    beat(database, "b", entries=1)
    assert since(database, 20) == Blindness("callbacks may still wait on host b", is_decided=False)


def test_periods_count_for_what_they_overlap(database: Database) -> None:
    period(database, Why.AWAY, 300, 120)
    words = f"we were away from {written(database, 300)} to {written(database, 120)}"
    assert since(database, 200) == Blindness(words, is_decided=False)
    assert since(database, 400) == Blindness(words, is_decided=False)
    assert since(database, 100) is None


def test_a_period_is_decided_ten_minutes_after_its_end(database: Database) -> None:
    period(database, Why.REFUSED, 3600, 605, host="a")
    words = f"host a answered 503 from {written(database, 3600)} to {written(database, 605)}"
    assert since(database, 3600) == Blindness(words, is_decided=True)


def test_several_reasons_stand_together_those_that_are_not_decided_first(database: Database) -> None:
    beat(database, "b", entries=1, ago=3600)
    beat(database, "c", entries=1)
    period(database, Why.AWAY, 1200, 1000)
    blind = since(database, 1100)
    assert blind is not None
    away = f"we were away from {written(database, 1200)} to {written(database, 1000)}"
    lost = f"host b was not seen since {written(database, 3600)}; what waits there is not counted"
    assert blind.words == f"callbacks may still wait on host c; {lost}; {away}"
    assert not blind.is_decided


def test_a_process_that_begins_tells_how_long_nobody_was_alive(database: Database) -> None:
    alive(database, "long dead", 100_000)
    alive(database, "last", 60)
    assert absence(database) == absence(database) == [(60, None, "away")]  # another that begins, too


def test_nobody_was_away_while_another_process_was_alive(database: Database) -> None:
    alive(database, "dead", 60)
    alive(database, "alive", 5)
    assert absence(database) == []


def test_the_first_process_of_all_was_not_awaited(database: Database) -> None:
    assert absence(database) == []


def alive(database: Database, id: str, ago: float) -> None:
    with database.begin() as db:
        then = processes.now_of(db) - seconds(ago)
        db.execute(insert(process).values(id=id, host="a", started_at=then, alive_at=then))


def absence(database: Database) -> list[tuple[int, str | None, str]]:
    """What a process that begins finds: periods with their seconds."""
    with database.begin() as db:
        last = processes.last_alive(db)
        if last is not None:
            blind_periods.save_absence(db, *last, processes.now_of(db))
        return [
            (round((one.ended_at - one.began_at).total_seconds()), one.host, one.why)
            for one in db.execute(select(blind_period))
        ]


def test_what_is_old_is_forgotten(database: Database) -> None:
    day = 86400
    for days in (29, 31):
        period(database, Why.AWAY, days * day + 60, days * day)
        beat(database, f"b{days}", entries=1, ago=40 * day)
    with database.begin() as db:
        now = processes.now_of(db)
        for days in (29, 31):
            gone = update(spool).where(spool.c.host == f"b{days}")
            db.execute(gone.values(retired_at=now - timedelta(days=days)))
        blind_periods.forget(db, now)
        spools.forget(db, now)
        assert db.execute(select(spool.c.host)).scalars().all() == ["b29"]
        assert len(db.execute(select(blind_period)).all()) == 1


def test_of_very_many_periods_the_latest_of_each_kind_count(database: Database) -> None:
    for at in range(40):
        period(database, Why.REFUSED, 1000 - at, 1000 - at, host=f"a{at}")
    period(database, Why.AWAY, 3000, 2000)
    blind = since(database, 5000)
    assert blind is not None
    assert [f"host a{at} " in blind.words for at in (39, 38, 37, 36)] == [True, True, True, False]
    assert "we were away from" in blind.words


def test_what_is_known_of_one_moment_is_not_taken_for_another(database: Database) -> None:
    period(database, Why.AWAY, 300, 200)
    period(database, Why.REFUSED, 120, 100, host="a")
    beat(database, "b", entries=1, ago=500)
    with database.begin() as db:
        now = processes.now_of(db)
        db.execute(update(spool).values(retired_at=now - seconds(50)))
        reasons = blindness.Reasons(db, now - seconds(400))
        moments = [now - seconds(ago) for ago in (400, 199, 201, 99, 101, 49, 51, 400, 51, 50)]
        found = [(reasons.since(moment), blindness.since(db, moment)) for moment in moments]
    assert [one and one.words for one, _ in found] == [alone and alone.words for _, alone in found]
    assert len({one and one.words for one, _ in found}) == 4
