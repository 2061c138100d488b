"""API keys are made, changed and revoked: each time with an event that says who did it, in one transaction.

`actor` is the name of the key that asks, or OPERATOR. No event holds the text of a key, or its hash.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from service.domain.access import Access
from service.store import events, keys
from service.store.events import KEY, Action, KeyEventKind
from service.store.keys import KeyWithSecrets

Facts = dict[str, tuple[object, object]]  # fact -> (before, after)


def create(
    db: Connection, name: str, access: Access, expires_at: datetime | None, actor: str, now: datetime
) -> tuple[str, KeyWithSecrets]:
    """Its text, which cannot be had again, and the key. Raises NameTaken and NameReserved."""
    text = keys.create(db, name, now, access, expires_at)
    made = _known(db, name)
    facts: Facts = {"name": (None, name)}
    facts |= {fact: (None, after) for fact, after in _rights(access).items()}
    facts |= {"secret_ids": ([], _secret_ids(made)), "expires_at": (None, expires_at)}
    _add(db, made, KeyEventKind.CREATED, facts, actor, now)
    return text, made


def change(db: Connection, key: KeyWithSecrets, access: Access, actor: str, now: datetime) -> KeyWithSecrets:
    """What a key, which the caller has locked, may do from now on; and the key as it is then."""
    before, after = _rights(key.access), _rights(access)
    facts: Facts = {fact: (before[fact], after[fact]) for fact in before if before[fact] != after[fact]}
    keys.change(db, key.id, access)
    if facts:
        _add(db, key, KeyEventKind.CHANGED, facts, actor, now)
    return _known(db, key.name)


def rotate(
    db: Connection, key: KeyWithSecrets, expires_at: datetime | None, actor: str, now: datetime
) -> tuple[str, KeyWithSecrets]:
    """A further text of a key that the caller has locked, and the key. Raises TooManySecrets."""
    text = keys.rotate(db, key, now, expires_at)
    rotated = _known(db, key.name)
    facts: Facts = {
        "secret_ids": (_secret_ids(key), _secret_ids(rotated)),
        "expires_at": (None, expires_at),
    }
    _add(db, key, KeyEventKind.SECRET_CREATED, facts, actor, now)
    return text, rotated


def revoke(
    db: Connection, key: KeyWithSecrets, secret_id: str | None, actor: str, now: datetime
) -> KeyWithSecrets | None:
    """The key, which the caller has locked, without that secret, or without any.

    None if none of them was left to be revoked.
    """
    if not keys.revoke(db, key.name, now, secret_id):
        return None
    revoked = _known(db, key.name)
    kind = KeyEventKind.REVOKED if secret_id is None else KeyEventKind.SECRET_REVOKED
    _add(db, key, kind, {"secret_ids": (_secret_ids(key), _secret_ids(revoked))}, actor, now)
    return revoked


def _known(db: Connection, name: str) -> KeyWithSecrets:
    found = keys.named(db, name)
    assert found is not None
    return found


def _rights(access: Access) -> dict[str, list[str] | None]:
    accounts = None if access.accounts is None else sorted(access.accounts)
    return {"scopes": sorted(access.scopes), "accounts": accounts}


def _secret_ids(key: KeyWithSecrets) -> list[str]:
    """Of those that are not revoked."""
    return [secret.id for secret in key.secrets if secret.revoked_at is None]


def _add(
    db: Connection, key: KeyWithSecrets, kind: KeyEventKind, facts: Facts, actor: str, now: datetime
) -> None:
    events.add_action(db, Action(KEY, key.id, kind, actor, facts), now)
