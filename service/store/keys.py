"""API keys: shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.ids import new_id
from service.store.tables import api_key

PREFIX = "slk"  # so that a leaked one is recognised


class NameTaken(Exception):
    """A key of this name exists, perhaps revoked: who asked must stay clear for ever."""


@dataclass(frozen=True)
class ApiKey:
    id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


def create(db: Connection, name: str, now: datetime) -> str:
    """The new key's text, which cannot be had again. Raises NameTaken."""
    key_id, secret = new_id(), secrets.token_urlsafe(32)
    row = {"id": key_id, "name": name, "secret_sha256": _hash(secret), "created_at": now}
    try:
        db.execute(insert(api_key), [row])
    except IntegrityError as trouble:
        raise NameTaken(name) from trouble
    return f"{PREFIX}_{key_id.replace('-', '')}_{secret}"


def listed(db: Connection) -> list[ApiKey]:
    return [_key(row) for row in db.execute(select(api_key).order_by(api_key.c.created_at)).mappings()]


def revoke(db: Connection, name: str, now: datetime) -> bool:
    """False if there is no such key in force."""
    query = update(api_key).where(api_key.c.name == name, api_key.c.revoked_at.is_(None))
    return db.execute(query.values(revoked_at=now)).rowcount == 1


def recognise(db: Connection, text: str) -> ApiKey | None:
    """The key in force that `text` is."""
    prefix, _, rest = text.partition("_")
    compact, _, secret = rest.partition("_")
    if prefix != PREFIX or len(compact) != 32 or not compact.isalnum() or not compact.isascii():
        return None
    key_id = "-".join((compact[:8], compact[8:12], compact[12:16], compact[16:20], compact[20:]))
    row = db.execute(select(api_key).where(api_key.c.id == key_id)).mappings().one_or_none()
    if row is None or row["revoked_at"] is not None:
        return None
    # The secret has 256 random bits, so a plain hash is enough.
    return _key(row) if hmac.compare_digest(row["secret_sha256"], _hash(secret)) else None


def _key(row: RowMapping) -> ApiKey:
    return ApiKey(row["id"], row["name"], row["created_at"], row["revoked_at"])


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
