"""What the callback endpoint rejected is kept as it came, up to a bound that spares first and last."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from service.store import rejected
from service.store.engine import Database
from service.store.rejected import RejectedDelivery

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REJECTED = RejectedDelivery(
    delivery_id="delivery-0",
    received_at=NOW,
    answered=403,
    reason="the signature does not fit",
    peer="192.0.2.1",
    method="POST",
    token="a-token",
    query=b"q=1",
    body=b"a=\0\xff",
    headers={"a": "ü"},
    account_sid="account-1",
    call_sid="v3:call-1",
)


def add(database: Database, *many: RejectedDelivery) -> None:
    with database.begin() as db:
        rejected.add(db, many)


def newest(database: Database, limit: int = 1000) -> list[RejectedDelivery]:
    with database.read() as db:
        return rejected.newest(db, limit)


def thin(database: Database, reason: str = REJECTED.reason) -> None:
    with database.read() as db:
        surplus = [*rejected.surplus(db, reason), *rejected.oversize(db)]
    with database.begin() as db:
        rejected.delete_all(db, surplus)


def numbered(count: int, every: timedelta, reason: str = REJECTED.reason) -> list[RejectedDelivery]:
    return [
        replace(REJECTED, delivery_id=f"delivery-{n}", received_at=NOW + n * every, reason=reason)
        for n in range(count)
    ]


def test_a_rejected_delivery_is_stored_as_it_came(database: Database) -> None:
    another = replace(REJECTED, delivery_id="delivery-1", token=None, account_sid=None, call_sid=None)
    add(database, REJECTED, another)
    assert newest(database) == [another, REJECTED]


def test_the_first_and_the_last_are_kept_and_one_of_every_hour_between(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected, "OLDEST", 10)
    monkeypatch.setattr(rejected, "NEWEST", 20)
    came = numbered(200, timedelta(minutes=6))
    for start in range(0, 200, 7):
        add(database, *came[start : start + 7])
        thin(database)
    left = [one.delivery_id for one in reversed(newest(database))]
    between = [f"delivery-{n}" for n in range(10, 180, 10)]
    assert left == [f"delivery-{n}" for n in range(10)] + between + [f"delivery-{n}" for n in range(180, 200)]


def test_a_flood_of_one_reason_drives_out_none_of_another(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected, "OLDEST", 5)
    monkeypatch.setattr(rejected, "NEWEST", 5)
    add(database, *numbered(8, timedelta(seconds=1), "there is no signature"))
    add(database, *numbered(50, timedelta(milliseconds=1)))
    thin(database)
    thin(database, "there is no signature")
    reasons = [one.reason for one in newest(database)]
    assert reasons.count("there is no signature") == 8
    assert reasons.count(REJECTED.reason) == 11


def test_where_there_is_too_much_in_all_the_largest_go(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected, "LARGEST_IN_ALL", 10_000)
    small = numbered(5, timedelta(seconds=1))
    large = [replace(one, delivery_id=f"large {n}", body=b"x" * 4000) for n, one in enumerate(small)]
    add(database, *large, *small)
    thin(database)
    assert [one.delivery_id for one in reversed(newest(database))] == ["large 3", "large 4"] + [
        one.delivery_id for one in small
    ]


def test_bodies_are_stored_whole(database: Database) -> None:
    add(database, replace(REJECTED, body=b"b" * 2**20, query=b"q" * 17_000))
    (stored,) = newest(database)
    assert (len(stored.body), len(stored.query)) == (2**20, 17_000)


@pytest.mark.parametrize(
    ("token", "stored"),
    [("a\0b", "a\N{REPLACEMENT CHARACTER}b"), ("a\ud800b", "a?b"), ("", ""), ("t" * 5000,) * 2],
)
def test_any_token_can_be_stored(database: Database, token: str, stored: str) -> None:
    add(database, replace(REJECTED, token=token))
    assert newest(database) == [replace(REJECTED, token=stored)]


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_sizes_are_added_up_without_reading_bodies(database: Database) -> None:
    with database.read() as db:
        plan = db.execute(text("EXPLAIN QUERY PLAN SELECT sum(size) FROM rejected_delivery")).all()
    assert "COVERING INDEX" in plan[0].detail
