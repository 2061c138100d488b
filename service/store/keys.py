"""API keys: a name, and secrets that are shown once and kept as a hash."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.ids import new_id
from service.store.tables import api_key, api_key_secret

PREFIX = "slk"  # so that a leaked one is recognised
_COMPACT_ID = re.compile("[0-9a-f]{32}")


class NameTaken(Exception):
    """A key of this name exists, perhaps revoked: who asked must stay clear for ever."""


@dataclass(frozen=True)
class ApiKey:
    """`revoked_at` is when the last of its secrets was revoked; None while one is in force."""

    id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


def create(db: Connection, name: str, now: datetime) -> str:
    """The new key's text, which cannot be had again. Raises NameTaken."""
    key_id, secret_id, secret = new_id(), new_id(), secrets.token_urlsafe(32)
    try:
        db.execute(insert(api_key), [{"id": key_id, "name": name, "created_at": now}])
    except IntegrityError as error:
        raise NameTaken(name) from error
    row = {"id": secret_id, "api_key_id": key_id, "sha256": _hash(secret), "created_at": now}
    db.execute(insert(api_key_secret), [row])
    return f"{PREFIX}_{secret_id.replace('-', '')}_{secret}"


def listed(db: Connection) -> list[ApiKey]:
    in_force = func.count().filter(api_key_secret.c.revoked_at.is_(None))
    query = (
        select(api_key.c.id, api_key.c.name, api_key.c.created_at, in_force.label("in_force"))
        .add_columns(func.max(api_key_secret.c.revoked_at).label("revoked_at"))
        .join(api_key_secret, api_key_secret.c.api_key_id == api_key.c.id)
        .group_by(api_key.c.id, api_key.c.name, api_key.c.created_at)
        .order_by(api_key.c.created_at)
    )
    return [
        ApiKey(row.id, row.name, row.created_at, None if row.in_force else row.revoked_at)
        for row in db.execute(query)
    ]


def revoke(db: Connection, name: str, now: datetime) -> bool:
    """All secrets of the key. False if there is no such key in force."""
    of_key = select(api_key.c.id).where(api_key.c.name == name).scalar_subquery()
    in_force = api_key_secret.c.revoked_at.is_(None)
    query = update(api_key_secret).where(api_key_secret.c.api_key_id == of_key, in_force)
    return db.execute(query.values(revoked_at=now)).rowcount > 0


def recognise(db: Connection, text: str, now: datetime) -> ApiKey | None:
    """The key in force that `text` is."""
    prefix, _, rest = text.partition("_")
    compact, _, secret = rest.partition("_")
    if prefix != PREFIX or not _COMPACT_ID.fullmatch(compact):
        return None
    query = (
        select(api_key, api_key_secret.c.sha256, api_key_secret.c.expires_at)
        .join(api_key_secret, api_key_secret.c.api_key_id == api_key.c.id)
        .where(api_key_secret.c.id == str(UUID(compact)), api_key_secret.c.revoked_at.is_(None))
    )
    row = db.execute(query).one_or_none()
    if row is None or (row.expires_at is not None and row.expires_at <= now):
        return None
    # The secret has 256 random bits, so a plain hash is enough.
    is_it = hmac.compare_digest(row.sha256, _hash(secret))
    return ApiKey(row.id, row.name, row.created_at, None) if is_it else None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
