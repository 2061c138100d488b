"""API keys: shown once, kept as a hash, recognised until they are revoked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from service.domain.access import Access, Scope
from service.store import keys
from service.store.engine import Database
from service.store.keys import NameTaken, TooManySecrets

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


def rotate(database: Database, now: datetime, expires_at: datetime | None = None) -> str:
    with database.begin() as db:
        key = keys.named(db, "an app", locks=True)
        assert key
        return keys.rotate(db, key, now, expires_at)


def test_two_secrets_open_the_same_key_and_a_third_has_to_wait(database: Database) -> None:
    first = make(database)
    second = rotate(database, LATER)
    with pytest.raises(TooManySecrets):
        rotate(database, LATER)
    with database.begin() as db:
        (key,) = keys.listed(db)
        assert {keys.recognise(db, one, LATER) for one in (first, second)} == {
            keys.RecognisedKey(key.id, "an app", NOW, Access(), key.secrets[0].id)
        }
        assert not keys.revoke(db, "another", LATER, key.secrets[0].id)
        assert keys.revoke(db, "an app", LATER, key.secrets[0].id)
        assert not keys.revoke(db, "an app", LATER, key.secrets[0].id)
    assert [recognised(database, one) for one in (first, second)] == [None, "an app"]
    third = rotate(database, LATER)
    with database.begin() as db:
        assert keys.listed(db)[0].revoked_at is None
        assert keys.revoke(db, "an app", LATER)
        assert keys.listed(db)[0].revoked_at == LATER
    assert [recognised(database, one) for one in (first, second, third)] == [None, None, None]
    assert recognised(database, rotate(database, LATER)) == "an app"


def test_rotated_by_many_at_once_it_has_two_secrets(database: Database) -> None:
    make(database)

    def try_to(_: int) -> bool:
        try:
            return bool(rotate(database, LATER))
        except TooManySecrets:
            return False

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(try_to, range(6))).count(True) == 1


def test_a_secret_ends_when_it_expires_and_makes_room(database: Database) -> None:
    make(database)
    ends = LATER + timedelta(days=1)
    second = rotate(database, LATER, ends)
    just_before = ends - timedelta(microseconds=1)
    with database.read() as db:
        (key,) = keys.listed(db)
        assert keys.recognise(db, second, just_before)
        assert keys.recognise(db, second, ends) is None
    assert [one.is_in_force(just_before) for one in key.secrets] == [True, True]
    assert [one.is_in_force(ends) for one in key.secrets] == [True, False]
    with pytest.raises(TooManySecrets):
        rotate(database, just_before)
    assert rotate(database, ends)


def test_what_a_key_may_do_comes_back_and_can_be_changed(database: Database) -> None:
    access = Access(frozenset({Scope.READ, Scope.ADMIN}), frozenset({"a", "b\"'", "ü"}))
    with database.begin() as db:
        shown = keys.create(db, "an app", NOW, access)
        key = keys.recognise(db, shown, NOW)
        assert key
        assert key.access == access
        keys.change(db, key.id, Access(frozenset({Scope.STOP}), None))
        changed = keys.recognise(db, shown, NOW)
    assert changed
    assert changed.access == Access(frozenset({Scope.STOP}), None)


def test_a_key_of_before_scopes_may_all_but_administer(database: Database) -> None:
    shown = make(database)
    with database.begin() as db:
        db.execute(text("UPDATE api_key SET scopes = NULL, accounts = NULL"))
        key = keys.recognise(db, shown, NOW)
    assert key
    assert key.access == Access(frozenset(Scope) - {Scope.ADMIN}, None)


def test_only_keys_within_some_accounts_are_seen_by_them(database: Database) -> None:
    reach = {"a": {"a"}, "ab": {"a", "b"}, "b": {"b"}, "c": {"c"}, "all": None}
    with database.begin() as db:
        for name, accounts in reach.items():
            access = Access(accounts=None if accounts is None else frozenset(accounts))
            keys.create(db, name, NOW, access)
        assert {key.name for key in keys.page(db, None, None, 9)} == set(reach)
        seen = keys.page(db, frozenset({"a", "b"}), None, 9)
        assert {key.name for key in seen} == {"a", "ab", "b"}
        assert keys.page(db, frozenset({"a", "b"}), seen[0].id, 1) == [seen[1]]
        only_a = next(key for key in seen if key.name == "a")
        assert keys.find(db, only_a.id, frozenset({"b"})) is None
        assert keys.find(db, only_a.id, frozenset({"a"}), locks=True) == only_a


def test_a_name_belongs_to_one_key(database: Database) -> None:
    shown = make(database)
    with pytest.raises(NameTaken):
        make(database)
    assert recognised(database, shown) == "an app"
