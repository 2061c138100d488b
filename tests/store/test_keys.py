"""API keys: shown once, kept as a hash, recognised until they are revoked."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import text

from service.store import keys
from service.store.engine import Database
from service.store.keys import NameTaken

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 3, 2, 12, tzinfo=UTC)


def make(database: Database, name: str = "an app") -> str:
    with database.begin() as db:
        return keys.create(db, name, NOW)


def recognised(database: Database, shown: str) -> str | None:
    with database.read() as db:
        key = keys.recognise(db, shown, NOW)
        return key.name if key else None


def test_a_key_is_recognised_and_tells_who_asks(database: Database) -> None:
    shown = make(database), make(database, "another app")
    assert shown[0].startswith("slk_")
    assert [recognised(database, one) for one in shown] == ["an app", "another app"]


def test_the_secret_is_not_in_the_database(database: Database) -> None:
    secret = make(database).split("_", 2)[2]  # it may hold more of them
    with database.read() as db:
        rows = repr([tuple(row) for row in db.execute(text("SELECT * FROM api_key"))])
    assert secret not in rows


def test_anything_else_is_nobody_s(database: Database) -> None:
    shown, other = make(database), make(database, "another app")
    prefix, compact, secret = shown.split("_", 2)
    wrong = [
        "",
        "_",
        "__",
        shown[:-1],
        shown + "x",
        shown.upper(),
        f" {shown}",
        f"{prefix}_{compact}_",
        f"{prefix}_{compact}",
        f"xxx_{compact}_{secret}",
        f"{prefix}_{other.split('_')[1]}_{secret}",
        f"{prefix}_{'0' * 32}_{secret}",
        f"{prefix}_{compact.upper()}_{secret}",
        f"{prefix}_{UUID(compact)}_{secret}",
        f"{prefix}_{{{compact}}}_{secret}",
        f"{prefix}_{compact[:-1]}'_{secret}",
        f"{prefix}_{compact[:-1]}\0_{secret}",
        f"{prefix}_{compact[:-1]}\u0661_{secret}",
        f"{prefix}_{compact}_\0\ud800",
        "a" * 100_000,
    ]
    assert [text for text in wrong if recognised(database, text)] == []


def test_a_revoked_key_opens_nothing_and_its_name_stays_taken(database: Database) -> None:
    shown = make(database)
    with database.begin() as db:
        assert keys.revoke(db, "an app", LATER)
    with database.begin() as db:
        assert not keys.revoke(db, "an app", LATER)
        assert not keys.revoke(db, "nobody", LATER)
    assert recognised(database, shown) is None
    with pytest.raises(NameTaken):
        make(database)
    with database.read() as db:
        (key,) = keys.listed(db)
    assert (key.name, key.created_at, key.revoked_at) == ("an app", NOW, LATER)


def test_a_name_belongs_to_one_key(database: Database) -> None:
    shown = make(database)
    with pytest.raises(NameTaken):
        make(database)
    assert recognised(database, shown) == "an app"
