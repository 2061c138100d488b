"""What the callback endpoint rejected is stored, up to a bound, whatever it holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from service.store import rejected
from service.store.engine import Database
from service.store.rejected import RejectedDelivery

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REFUSAL = RejectedDelivery(
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
)


def keep(database: Database, *many: RejectedDelivery) -> None:
    with database.begin() as db:
        rejected.add(db, many)


def newest(database: Database, limit: int = 100) -> list[RejectedDelivery]:
    with database.read() as db:
        return rejected.newest(db, limit)


def test_a_refusal_is_kept_as_it_came(database: Database) -> None:
    another = replace(REFUSAL, delivery_id="delivery-1", token=None)
    keep(database, REFUSAL, another)
    assert newest(database) == [another, REFUSAL]


def test_of_each_reason_the_oldest_the_newest_and_one_an_hour_between_are_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected, "OLDEST", 3)
    monkeypatch.setattr(rejected, "NEWEST", 4)
    came = [
        replace(REFUSAL, delivery_id=f"{n}", received_at=NOW + n * timedelta(minutes=20)) for n in range(16)
    ]
    keep(database, *came, replace(REFUSAL, delivery_id="other", reason="another"))
    with database.begin() as db:
        rejected.delete_all(db, rejected.surplus(db, REFUSAL.reason))
    kept = [one.delivery_id for one in newest(database) if one.reason == REFUSAL.reason]
    assert kept == ["15", "14", "13", "12", "9", "6", "3", "2", "1", "0"]
    assert newest(database, 1)[0].delivery_id == "other"


def test_of_too_much_in_all_the_largest_go(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected, "LARGEST_IN_ALL", 1000)
    keep(database, *(replace(REFUSAL, delivery_id=f"{n}", body=b"b" * n, query=b"") for n in (500, 600, 100)))
    with database.begin() as db:
        rejected.delete_all(db, rejected.oversize(db))
    assert [one.delivery_id for one in newest(database)] == ["100", "500"]


def test_a_large_one_is_kept_whole(database: Database) -> None:
    keep(database, replace(REFUSAL, body=b"b" * 2**20))
    (kept,) = newest(database)
    assert kept.body == b"b" * 2**20


@pytest.mark.parametrize(
    ("token", "kept"),
    [("a\0b", "a\N{REPLACEMENT CHARACTER}b"), ("a\ud800b", "a?b"), ("", ""), ("t" * 5000,) * 2],
)
def test_any_token_can_be_kept(database: Database, token: str, kept: str) -> None:
    keep(database, replace(REFUSAL, token=token))
    assert newest(database) == [replace(REFUSAL, token=kept)]
