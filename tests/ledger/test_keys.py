"""A change of a key and the event that tells of it are both there, or neither is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, select, text

from service.domain.access import Access, Scope
from service.ledger import keys
from service.store.engine import Database, DatabaseError
from service.store.keys import KeyWithSecrets, listed, named
from service.store.tables import event
from tests.ledger.lines import NOON

READ = Access(frozenset({Scope.READ}))


class Undone(Exception):
    """Something after the change fails."""


def make(db: Connection, name: str = "app") -> KeyWithSecrets:
    return keys.create(db, name, READ, None, "boss", NOON)[1]


def app(db: Connection) -> KeyWithSecrets:
    found = named(db, "app", locks=True)
    assert found
    return found


CHANGES: dict[str, Callable[[Connection], object]] = {
    "created": lambda db: make(db, "another"),
    "changed": lambda db: keys.change(db, app(db), Access(), "boss", NOON),
    "secret-created": lambda db: keys.rotate(db, app(db), None, "boss", NOON),
    "secret-revoked": lambda db: keys.revoke(db, app(db), app(db).secrets[0].id, "boss", NOON),
    "revoked": lambda db: keys.revoke(db, app(db), None, "boss", NOON),
}


def kinds(database: Database) -> list[str]:
    with database.read() as db:
        return list(db.scalars(select(event.c.kind).order_by(event.c.sequence)))


def all_keys(database: Database) -> list[KeyWithSecrets]:
    with database.read() as db:
        return listed(db)


def undo(database: Database, change: Callable[[Connection], object]) -> None:
    with database.begin() as db:
        change(db)
        raise Undone


@pytest.mark.parametrize("kind", CHANGES)
def test_what_is_undone_leaves_neither(database: Database, kind: str) -> None:
    with database.begin() as db:
        make(db)
    before = all_keys(database)
    with pytest.raises(Undone):
        undo(database, CHANGES[kind])
    assert (all_keys(database), kinds(database)) == (before, ["created"])
    with database.begin() as db:
        CHANGES[kind](db)
    assert all_keys(database) != before
    assert kinds(database) == ["created", kind]


@pytest.mark.parametrize("kind", CHANGES)
def test_what_cannot_be_told_is_not_done(database: Database, kind: str) -> None:
    with database.begin() as db:
        make(db)
    before = all_keys(database)
    with database.begin() as db:
        db.execute(text("ALTER TABLE event RENAME TO gone"))
    with pytest.raises(DatabaseError), database.begin() as db:
        CHANGES[kind](db)
    assert all_keys(database) == before


def test_a_secret_that_is_not_the_key_s_is_not_revoked(database: Database) -> None:
    with database.begin() as db:
        make(db)
        other = make(db, "other").secrets[0].id
        assert keys.revoke(db, app(db), other, "boss", NOON) is None
    assert kinds(database) == ["created", "created"]
