"""What the callback door refused is kept, up to a bound, whatever it holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from service.store import rejected
from service.store.engine import Database
from service.store.rejected import LARGEST_BODY, RejectedDelivery

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REFUSAL = RejectedDelivery(
    delivery_id="delivery-0",
    received_at=NOW,
    answered=403,
    reason="the signature does not fit",
    method="POST",
    token="a-token",
    query=b"q=1",
    body=b"a=\0\xff",
    headers={"a": "ü"},
)


def keep(database: Database, *many: RejectedDelivery) -> None:
    for one in many:
        with database.begin() as db:
            rejected.keep(db, one)


def newest(database: Database, limit: int = 100) -> list[RejectedDelivery]:
    with database.read() as db:
        return rejected.newest(db, limit)


def test_a_refusal_is_kept_as_it_came(database: Database) -> None:
    another = replace(REFUSAL, delivery_id="delivery-1", token=None)
    keep(database, REFUSAL, another)
    assert newest(database) == [another, REFUSAL]


def test_only_so_many_are_kept_and_the_oldest_go(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected, "MOST_KEPT", 5)
    came = [
        replace(REFUSAL, delivery_id=f"delivery-{n}", received_at=NOW + timedelta(seconds=n))
        for n in range(12)
    ]
    keep(database, *came)
    assert newest(database) == came[:-6:-1]
    assert newest(database, 2) == came[:-3:-1]


def test_a_large_one_is_cut(database: Database) -> None:
    keep(database, replace(REFUSAL, body=b"b" * 2**20, query=b"q" * 2**20))
    (kept,) = newest(database)
    assert (kept.body, kept.query) == (b"b" * LARGEST_BODY, b"q" * LARGEST_BODY)


@pytest.mark.parametrize(
    ("token", "kept"),
    [("a\0b", "a\N{REPLACEMENT CHARACTER}b"), ("a\ud800b", "a?b"), ("", ""), ("t" * 5000,) * 2],
)
def test_any_token_can_be_kept(database: Database, token: str, kept: str) -> None:
    keep(database, replace(REFUSAL, token=token))
    assert newest(database) == [replace(REFUSAL, token=kept)]
