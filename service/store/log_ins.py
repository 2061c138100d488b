"""Who is logged in to the pages, and the links that log in once. Of both only the hash is kept."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, exists, insert, or_, select, update

from service.store import keys
from service.store.columns import UtcTime
from service.store.keys import ApiKey
from service.store.tables import api_key, api_key_secret
from service.store.watch_tables import log_in, log_in_link

LASTS: Final = timedelta(hours=12)
LINK_LASTS: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class LogIn:
    """`expires_at` is UTC; it ends before that with what it was made with."""

    key: ApiKey
    expires_at: datetime


def begin(db: Connection, key_id: str, secret_id: str | None, instead_of: str, now: datetime) -> str:
    """The text that the cookie holds. Of `secret_id` None it lasts as long as any secret of its key.

    What the browser brought along is ended: nobody else knows the new text.
    """
    end(db, instead_of)
    text = secrets.token_urlsafe(32)
    db.execute(delete(log_in).where(log_in.c.expires_at < now))
    row = {"sha256": _hash(text), "api_key_id": key_id, "secret_id": secret_id}
    db.execute(insert(log_in), [{**row, "created_at": now, "expires_at": now + LASTS}])
    return text


def end(db: Connection, text: str) -> None:
    db.execute(delete(log_in).where(log_in.c.sha256 == _hash(text)))


def recognise(db: Connection, text: str, now: datetime) -> LogIn | None:
    """The log-in that `text` is, while its key is in force."""
    row = db.execute(_RECOGNISED, {"sha256": _hash(text), "now": now}).mappings().one_or_none()
    return None if row is None else LogIn(keys.key_of(row), row["log_in_expires_at"])


def make_link(db: Connection, key_id: str, now: datetime) -> str:
    """The text of a link that logs in as this key, once, within LINK_LASTS."""
    text = secrets.token_urlsafe(32)
    db.execute(delete(log_in_link).where(log_in_link.c.expires_at < now - LASTS))
    row = {"sha256": _hash(text), "api_key_id": key_id, "created_at": now, "expires_at": now + LINK_LASTS}
    db.execute(insert(log_in_link), [row])
    return text


def link_names(db: Connection, text: str, now: datetime) -> str | None:
    """The name of the key that the link logs in as; None if it does not, or not any longer."""
    query = select(api_key.c.name).join(log_in_link, log_in_link.c.api_key_id == api_key.c.id)
    return db.scalar(query.where(_is_open(text, now), _key_is_in_force(now)))


def use_link(db: Connection, text: str, now: datetime) -> str | None:
    """The id of its key, to whoever comes first; None to all others."""
    change = update(log_in_link).where(_is_open(text, now)).values(used_at=now)
    key_id = db.scalar(change.returning(log_in_link.c.api_key_id))
    query = select(api_key.c.id).join(log_in_link, log_in_link.c.api_key_id == api_key.c.id)
    in_force = query.where(log_in_link.c.sha256 == _hash(text), _key_is_in_force(now))
    return db.scalar(in_force) if key_id else None


def _is_open(text: str, now: datetime) -> ColumnElement[bool]:
    row = log_in_link.c
    return and_(row.sha256 == _hash(text), row.used_at.is_(None), row.expires_at > now)


def _key_is_in_force(now: datetime) -> ColumnElement[bool]:
    """By a secret that is older than the link: one of before opens nothing once its key was revoked.

    Not even when the key is rotated afterwards, and so in force again.
    """
    secret = api_key_secret.c
    is_current = or_(secret.expires_at.is_(None), secret.expires_at > now)
    is_older = secret.created_at <= log_in_link.c.created_at
    return exists().where(
        secret.api_key_id == api_key.c.id, secret.revoked_at.is_(None), is_current, is_older
    )


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


_now = bindparam("now", type_=UtcTime)
_RECOGNISED = (
    select(api_key, log_in.c.expires_at.label("log_in_expires_at"))
    .join(log_in, log_in.c.api_key_id == api_key.c.id)
    .where(
        log_in.c.sha256 == bindparam("sha256"),
        log_in.c.expires_at > _now,
        exists().where(
            api_key_secret.c.api_key_id == api_key.c.id,
            or_(log_in.c.secret_id.is_(None), log_in.c.secret_id == api_key_secret.c.id),
            api_key_secret.c.revoked_at.is_(None),
            # Of before: a key that was revoked, and rotated since, opens no page that was open then.
            api_key_secret.c.created_at <= log_in.c.created_at,
            or_(api_key_secret.c.expires_at.is_(None), api_key_secret.c.expires_at > _now),
        ),
    )
)
