"""The JSON of API keys, as it comes in and goes out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from service.domain.access import LONGEST_NAME, MOST_ACCOUNTS, Access, Scope, is_name
from service.store.keys import KeyWithSecrets, Secret
from service.web.requests import PRINTABLE, QueryTime, Sid
from service.web.responses import Model, Time


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError("must be printable, and not blank")
    return text


Name = Annotated[
    str,
    Field(min_length=1, max_length=LONGEST_NAME, json_schema_extra={"pattern": PRINTABLE}),
    AfterValidator(_name),
]
Scopes = Annotated[tuple[Scope, ...], Field(min_length=1)]
AccountSids = Annotated[tuple[Sid, ...], Field(min_length=1, max_length=MOST_ACCOUNTS)]
LAST_USED = "null: never; uses of the last minute may not be known yet"
NEVER = "when its first secret ends; null: never"


class KeyRequest(Model):
    """A new key. It can have no right that the asking key lacks."""

    name: Name = Field(description="who asks; it stays for ever, in reports and logs too")
    scopes: Scopes = Field(description="what it may do; none implies another")
    accounts: AccountSids | None = Field(
        default=None, description="Telnyx's account ids that it may act for and see; null: all"
    )
    expires_at: QueryTime | None = Field(default=None, description=NEVER)

    def access(self) -> Access:
        return Access(frozenset(self.scopes), None if self.accounts is None else frozenset(self.accounts))


class KeyChange(Model):
    """What is left out stays as it is."""

    scopes: Scopes | None = Field(default=None, description="what it may do; null: as before")
    accounts: AccountSids | None = Field(default=None, description="null: all")

    def access(self, before: Access) -> Access:
        accounts = before.accounts
        if "accounts" in self.model_fields_set:
            accounts = None if self.accounts is None else frozenset(self.accounts)
        return Access(before.scopes if self.scopes is None else frozenset(self.scopes), accounts)


class SecretRequest(Model):
    """A further secret of a key."""

    expires_at: QueryTime | None = Field(default=None, description="when it ends; null: never")


class SecretResponse(Model):
    id: str = Field(description="in the key's text too, between slk_ and the next underscore")
    in_force: bool
    created_at: Time
    expires_at: Time | None = Field(description="null: never")
    revoked_at: Time | None
    last_used_at: Time | None = Field(description=LAST_USED)


class KeyResponse(Model):
    id: str
    name: str
    in_force: bool = Field(description="one of its secrets is")
    scopes: list[Scope]
    accounts: list[str] | None = Field(description="null: all")
    created_at: Time
    last_used_at: Time | None = Field(description=LAST_USED)
    secrets: list[SecretResponse] = Field(description="all that it ever had, the oldest first")


class NewKeyResponse(KeyResponse):
    text: str = Field(description="what to send as Bearer; shown here, and never again")


class KeyPage(Model):
    keys: list[KeyResponse]
    next_cursor: str | None = Field(description="for the next page; null on the last")


def key(shown: KeyWithSecrets, now: datetime) -> KeyResponse:
    access = shown.access
    return KeyResponse(
        id=shown.id,
        name=shown.name,
        in_force=shown.is_in_force(now),
        scopes=sorted(access.scopes),
        accounts=None if access.accounts is None else sorted(access.accounts),
        created_at=shown.created_at,
        last_used_at=shown.last_used_at,
        secrets=[_secret(one, now) for one in shown.secrets],
    )


def new_key(shown: KeyWithSecrets, text: str, now: datetime) -> NewKeyResponse:
    return NewKeyResponse(**dict(key(shown, now)), text=text)


def _secret(shown: Secret, now: datetime) -> SecretResponse:
    return SecretResponse(
        id=shown.id,
        in_force=shown.is_in_force(now),
        created_at=shown.created_at,
        expires_at=shown.expires_at,
        revoked_at=shown.revoked_at,
        last_used_at=shown.last_used_at,
    )
