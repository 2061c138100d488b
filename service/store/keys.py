"""API keys: a name, what it may do, and secrets that are shown once and kept as a hash."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, bindparam, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.access import ALL_BUT_ADMIN, Access, Accounts, Scope
from service.domain.ids import new_id
from service.store.accounts import sees_key
from service.store.columns import UtcTime
from service.store.events import ACTORS
from service.store.outages import no_outage
from service.store.tables import api_key, api_key_secret

PREFIX = "slk"  # so that a leaked one is recognised
MOST_SECRETS = 2  # of a key, in force at once: the one in use, and the one that replaces it
_COMPACT_ID = re.compile("[0-9a-f]{32}")
_KNOWN_SCOPES = frozenset(Scope)


class NameTaken(Exception):
    """A key of this name exists, perhaps revoked: who asked must stay clear for ever."""


class NameReserved(Exception):
    """It stands for somebody who has no key: one of ACTORS."""


class TooManySecrets(Exception):
    """MOST_SECRETS are in force already."""


@dataclass(frozen=True)
class ApiKey:
    id: str
    name: str
    created_at: datetime
    access: Access


@dataclass(frozen=True)
class RecognisedKey(ApiKey):
    """Equal, whichever of its secrets it was recognised by."""

    secret_id: str = field(compare=False)


@dataclass(frozen=True)
class Secret:
    id: str
    created_at: datetime
    expires_at: datetime | None  # None: never
    revoked_at: datetime | None  # None: it is not
    last_used_at: datetime | None  # what was within the last minute may not be known yet

    def is_in_force(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True)
class KeyWithSecrets(ApiKey):
    """`secrets` are all that it ever had, the oldest first."""

    secrets: tuple[Secret, ...]

    @property
    def revoked_at(self) -> datetime | None:
        """When the last of its secrets was revoked; None while one is not."""
        revoked = [secret.revoked_at for secret in self.secrets if secret.revoked_at]
        return max(revoked) if len(revoked) == len(self.secrets) else None

    @property
    def last_used_at(self) -> datetime | None:
        return max((secret.last_used_at for secret in self.secrets if secret.last_used_at), default=None)

    def is_in_force(self, now: datetime) -> bool:
        return any(secret.is_in_force(now) for secret in self.secrets)


def create(
    db: Connection,
    name: str,
    now: datetime,
    access: Access = Access(),  # noqa: B008 (nobody can change it)
    expires_at: datetime | None = None,
) -> str:
    """The new key's text, which cannot be had again. Raises NameTaken and NameReserved."""
    if name.strip().casefold() in ACTORS:
        raise NameReserved(name)
    key_id = new_id()
    try:
        db.execute(insert(api_key), [{"id": key_id, "name": name, "created_at": now, **_columns(access)}])
    except IntegrityError as error:
        raise NameTaken(name) from error
    return _add_secret(db, key_id, now, expires_at)


def change(db: Connection, key_id: str, access: Access) -> None:
    """What it may do from now on."""
    db.execute(update(api_key).where(api_key.c.id == key_id).values(**_columns(access)))


def rotate(db: Connection, key: KeyWithSecrets, now: datetime, expires_at: datetime | None = None) -> str:
    """A further text for a key that the caller has locked; the earlier one stays in force.

    Raises TooManySecrets.
    """
    if sum(secret.is_in_force(now) for secret in key.secrets) >= MOST_SECRETS:
        raise TooManySecrets(key.name)
    return _add_secret(db, key.id, now, expires_at)


def revoke(db: Connection, name: str, now: datetime, secret_id: str | None = None) -> bool:
    """All secrets of the key, or that one. False if none of them was left to be revoked."""
    of_key = select(api_key.c.id).where(api_key.c.name == name).scalar_subquery()
    not_yet = api_key_secret.c.revoked_at.is_(None)
    query = update(api_key_secret).where(api_key_secret.c.api_key_id == of_key, not_yet)
    if secret_id is not None:
        query = query.where(api_key_secret.c.id == secret_id)
    return db.execute(query.values(revoked_at=now)).rowcount > 0


def listed(db: Connection) -> list[KeyWithSecrets]:
    """All, the oldest first."""
    return _read(db, select(api_key).order_by(api_key.c.created_at, api_key.c.id))


def page(db: Connection, accounts: Accounts, after: str | None, limit: int) -> list[KeyWithSecrets]:
    """Those that reach these accounts at most, the oldest first; `after` is the id of the last one seen."""
    query = select(api_key).where(sees_key(db, accounts)).order_by(api_key.c.id).limit(limit)
    return _read(db, query if after is None else query.where(api_key.c.id > after))


def find(db: Connection, key_id: str, accounts: Accounts, *, locks: bool = False) -> KeyWithSecrets | None:
    """If it reaches these accounts at most. Where `locks`, nobody else changes it meanwhile."""
    return _one(db, select(api_key).where(api_key.c.id == key_id, sees_key(db, accounts)), locks=locks)


def named(db: Connection, name: str, *, locks: bool = False) -> KeyWithSecrets | None:
    return _one(db, select(api_key).where(api_key.c.name == name), locks=locks)


def recognise(db: Connection, text: str, now: datetime) -> RecognisedKey | None:
    """The key in force that `text` is."""
    prefix, _, rest = text.partition("_")
    compact, _, secret = rest.partition("_")
    if prefix != PREFIX or not _COMPACT_ID.fullmatch(compact):
        return None
    secret_id = str(UUID(compact))
    row = db.execute(_RECOGNISED, {"secret_id": secret_id}).mappings().one_or_none()
    if row is None or (row["expires_at"] is not None and row["expires_at"] <= now):
        return None
    # The secret has 256 random bits, so a plain hash is enough.
    if not hmac.compare_digest(row["sha256"], _hash(secret)):
        return None
    return RecognisedKey(row["id"], row["name"], row["created_at"], _access(row), secret_id)


def key_of(row: Mapping[Any, Any]) -> ApiKey:
    """Out of a row of the table."""
    return ApiKey(row["id"], row["name"], row["created_at"], _access(row))


def save_last_used(db: Connection, used: Mapping[str, datetime]) -> set[str]:
    """`used` is when, by the secret's id. Which of them are done: saved, or known to be used later than that.

    A secret that somebody changes meanwhile is left out, so that neither waits for the other. Raises
    DatabaseError; a grant that is missing here stops nothing else, and is no outage.
    """
    with no_outage():
        return _save_last_used(db, used)


def _save_last_used(db: Connection, used: Mapping[str, datetime]) -> set[str]:
    query = select(api_key_secret.c.id).where(api_key_secret.c.id.in_(list(used)))
    free = set(db.scalars(query.with_for_update(key_share=True, skip_locked=True)))
    last, used_at = api_key_secret.c.last_used_at, bindparam("used_at", type_=UtcTime)
    is_of = api_key_secret.c.id == bindparam("secret_id")
    change = update(api_key_secret).where(is_of, or_(last.is_(None), last < used_at))
    rows = [{"secret_id": secret_id, "used_at": used[secret_id]} for secret_id in free]
    if rows:
        db.execute(change.values(last_used_at=used_at), rows)
    return free


def _add_secret(db: Connection, key_id: str, now: datetime, expires_at: datetime | None) -> str:
    secret_id, secret = new_id(), secrets.token_urlsafe(32)
    row = {"id": secret_id, "api_key_id": key_id, "sha256": _hash(secret), "created_at": now}
    db.execute(insert(api_key_secret), [{**row, "expires_at": expires_at}])
    return f"{PREFIX}_{secret_id.replace('-', '')}_{secret}"


def _one(db: Connection, query: Select[Any], *, locks: bool) -> KeyWithSecrets | None:
    found = _read(db, query.with_for_update(key_share=True) if locks else query)
    return found[0] if found else None


def _read(db: Connection, query: Select[Any]) -> list[KeyWithSecrets]:
    rows = db.execute(query).mappings().all()
    found = _secrets(db, [row["id"] for row in rows])
    return [
        KeyWithSecrets(row["id"], row["name"], row["created_at"], _access(row), tuple(found[row["id"]]))
        for row in rows
    ]


def _secrets(db: Connection, key_ids: Collection[str]) -> Mapping[str, Sequence[Secret]]:
    """By key."""
    query = select(api_key_secret).where(api_key_secret.c.api_key_id.in_(key_ids))
    found: defaultdict[str, list[Secret]] = defaultdict(list)
    for row in db.execute(query.order_by(api_key_secret.c.created_at, api_key_secret.c.id)):
        found[row.api_key_id].append(_secret(row))
    return found


def _secret(row: Row[Any]) -> Secret:
    return Secret(row.id, row.created_at, row.expires_at, row.revoked_at, row.last_used_at)


def _columns(access: Access) -> dict[str, Any]:
    accounts = None if access.accounts is None else sorted(access.accounts)
    return {"scopes": sorted(access.scopes), "accounts": accounts}


def _access(row: Mapping[Any, Any]) -> Access:
    scopes, accounts = row["scopes"], row["accounts"]
    return Access(
        # Null: made before there were scopes. One that a later release knows opens nothing here.
        ALL_BUT_ADMIN if scopes is None else frozenset(map(Scope, _KNOWN_SCOPES.intersection(scopes))),
        None if accounts is None else frozenset(accounts),
    )


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


# Made once: every request needs it.
_RECOGNISED = (
    select(api_key, api_key_secret.c.sha256, api_key_secret.c.expires_at)
    .join(api_key_secret, api_key_secret.c.api_key_id == api_key.c.id)
    .where(api_key_secret.c.id == bindparam("secret_id"), api_key_secret.c.revoked_at.is_(None))
)
