"""Times and labels come back from either database as they went in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Connection, insert, select, text

from service.domain.access import ALL_ACCOUNTS
from service.domain.ids import new_id
from service.domain.session import Origin, Session
from service.domain.start import Order
from service.store import keys, session_lists, sessions
from service.store.engine import Database
from service.store.session_lists import Filter
from service.store.sessions import IdempotencyKey
from service.store.tables import api_key, api_key_secret

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MOMENTS = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2026, 3, 1, 12, 0, 0, 0, tzinfo=UTC),
    datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC),
    datetime(2026, 3, 1, 12, 0, 0, 100000, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]
LABELS = {
    "team": "fraud",
    "name": "Jürgen \u2603 \U0001f600",
    "quote": "a\"b'c\\d",
    "e": "\u0301",
    "nil": "null",
}


def keep(db: Connection, name: str, created_at: datetime) -> None:
    db.execute(insert(api_key), [{"id": name, "name": name, "created_at": created_at}])


def test_a_time_comes_back_to_the_microsecond_and_sorts(database: Database) -> None:
    with database.begin() as db:
        for number, moment in enumerate(reversed(MOMENTS)):
            keep(db, str(number), moment)
    with database.read() as db:
        found = list(db.scalars(select(api_key.c.created_at).order_by(api_key.c.created_at)))
        earlier = db.scalars(select(api_key.c.created_at).where(api_key.c.created_at < MOMENTS[4])).all()
    assert found == MOMENTS
    assert {moment.tzinfo for moment in found} == {UTC}
    assert sorted(earlier) == MOMENTS[:4]


@pytest.mark.parametrize("hours", [-11, 5.5, 14])
def test_a_time_of_another_zone_comes_back_in_utc(database: Database, hours: float) -> None:
    moment = MOMENTS[4].astimezone(timezone(timedelta(hours=hours)))
    with database.begin() as db:
        keep(db, "key", moment)
    with database.read() as db:
        found = db.scalar(select(api_key.c.created_at))
    assert found == moment
    assert found
    assert found.tzinfo is UTC


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_in_sqlite_a_time_is_text_of_one_length(database: Database) -> None:
    with database.begin() as db:
        keep(db, "first", MOMENTS[0])
        keep(db, "second", MOMENTS[4])
        written = db.execute(text("SELECT created_at, typeof(created_at) FROM api_key ORDER BY name")).all()
    assert written == [("0001-01-01T00:00:00.000000Z", "text"), ("2026-03-01T12:00:00.000000Z", "text")]


def test_bytes_come_back_as_bytes(database: Database) -> None:
    with database.begin() as db:
        keep(db, "key", NOW)
        secret = {"id": "1", "api_key_id": "key", "sha256": b"\0\xff", "created_at": NOW}
        db.execute(insert(api_key_secret), [secret])
    with database.read() as db:
        assert db.scalar(select(api_key_secret.c.sha256)) == b"\0\xff"


def test_labels_come_back_and_are_found_by_any_letters(database: Database) -> None:
    with database.begin() as db:
        keys.create(db, "an app", NOW)
        key_id = keys.listed(db)[0].id
        new = Session(new_id(), Origin.API, Order("a", "c", labels=LABELS), NOW, NOW)
        other = Session(new_id(), Origin.API, Order("a", "c", labels={"team": "other"}), NOW, NOW)
        assert sessions.insert(db, new, IdempotencyKey(key_id))
        assert sessions.insert(db, other, IdempotencyKey(key_id))
    with database.read() as db:
        found = sessions.find(db, new.id, ALL_ACCOUNTS)
        assert found
        assert found.order == new.order
        for label in LABELS.items():
            assert [
                one.id for one in session_lists.page(db, Filter(labels=(label,)), ALL_ACCOUNTS, None, 5)
            ] == [new.id]
        both = Filter(labels=(("team", "fraud"), ("nil", "null")))
        assert [one.id for one in session_lists.page(db, both, ALL_ACCOUNTS, None, 5)] == [new.id]
        assert (
            session_lists.page(db, Filter(labels=(("team", "fraud"), ("nil", "x"))), ALL_ACCOUNTS, None, 5)
            == []
        )
        assert session_lists.page(db, Filter(labels=(("absent", "x"),)), ALL_ACCOUNTS, None, 5) == []
