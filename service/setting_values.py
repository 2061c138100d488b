"""What the text of a setting may be: each of these gives its value, or raises ValueError.

Its words follow the setting's name, and show nothing of the value: it may be a secret.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

LONGEST_ACCOUNT: Final = 255
UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
PUBLIC_KEY: Final = "the base64 text of a 32-byte Ed25519 key, as Telnyx's portal shows it"


@dataclass(frozen=True)
class AccountKeys:
    """Keys for all accounts, and those that are for one account, by its id."""

    for_all: tuple[str, ...] = field(repr=False)
    for_one: Mapping[str, tuple[str, ...]] = field(repr=False)


def listed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not (parts := [part.strip() for part in value.split(",") if part.strip()]):
        raise ValueError("must not be empty")
    return parts


def named(value: Any) -> Any:
    if value == "":  # or a path would be the folder that we happen to be in
        raise ValueError("must not be empty")
    return value


def plain_url(value: str) -> str:
    """Without query and fragment, and without a slash at its end."""
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an http(s) URL without query and fragment")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold credentials")
    return value.rstrip("/")


def public_url(value: str) -> str:
    if len(value) > 1500:
        raise ValueError("is too long: Telnyx takes callback URLs of 2000 characters at most")
    return plain_url(value)


def base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http(s) URL")
    return value.rstrip("/")


def webhook_url(value: str | None) -> str | None:
    """A query may be the secret of who is called."""
    if value is None:
        return None
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.fragment:
        raise ValueError("must be an http(s) URL without a fragment")
    return value


def webhook_secret(value: SecretStr | None) -> SecretStr | None:
    """As standardwebhooks.com has it."""
    if value is None:
        return None
    prefix, _, text = value.get_secret_value().partition("_")
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if prefix != "whsec" or not 24 <= len(raw) <= 64:
        raise ValueError("must be whsec_ and 24 to 64 bytes in base64")
    return value


def database_url(text: str) -> str:
    """The same, if it names a database that we can speak to."""
    scheme, _, rest = text.partition("://")
    if scheme == "sqlite":
        if rest in {"", "/", "/:memory:"} or not rest.startswith("/"):
            raise ValueError("must name a file: sqlite:////path/to/ledger.sqlite3")
        return text
    if scheme not in {"postgres", "postgresql", "postgresql+psycopg"} or not rest:
        raise ValueError("must begin with sqlite:///, postgresql:// or postgres://")
    authority, _, query = rest.partition("?")
    credentials, _, hosts = authority.partition("/")[0].rpartition("@")
    if "@" in credentials:  # libpq takes the rest of a password for a host, and tells which it cannot find
        raise ValueError("must write an @ in its password as %40")
    for host in hosts.split(","):  # a primary and its standbys
        _check_host(host)
    if sum(name == "host" for name, _ in parse_qsl(query)) > 1:
        raise ValueError("must name several hosts as postgresql://a:5432,b:5432/ledger")
    return text


def _check_host(host: str) -> None:
    try:
        urlsplit(f"//{host}").port  # noqa: B018 (reading it is what raises)
    except ValueError:
        raise ValueError("must name its port by a number") from None


def api_keys(value: Any) -> Any:
    """One for all accounts at most, and one for each account at most."""
    if isinstance(value, AccountKeys):
        return value
    keys = _account_keys(value, _is_api_key, "a key, or account=key")
    if len(keys.for_all) > 1:
        raise ValueError("must hold one key without an account at most; others as account=key")
    if any(len(own) > 1 for own in keys.for_one.values()):
        raise ValueError("must hold one key for an account at most")
    return keys


def public_keys(value: Any) -> Any:
    if isinstance(value, AccountKeys):
        return value
    keys = _account_keys(value, _is_public_key, f"{PUBLIC_KEY}, or account=key")
    if any(_is_public_key(f"{account}=") for account in keys.for_one):
        raise ValueError("must have a comma between two keys")
    return keys


def _account_keys(value: Any, is_key: Callable[[str], bool], wanted: str) -> AccountKeys:
    """`key` and `account=key`, separated by commas or white space.

    Keys are base64 and may end with =, so an entry that is a key by itself names no account.
    """
    entries = re.split(r"[,\s]+", value.strip(", \t\r\n")) if isinstance(value, str) else list(value)
    if not any(entries):
        raise ValueError("must not be empty")
    for_all: list[str] = []
    for_one: dict[str, list[str]] = {}
    for number, entry in enumerate(entries, 1):
        account, _, key = entry.partition("=")
        if is_key(entry):
            for_all.append(entry)
        elif is_key(key) and 0 < len(account) <= LONGEST_ACCOUNT and account.isprintable():
            for_one.setdefault(account, []).append(key)
        else:
            which = f"entry {number} " if len(entries) > 1 else ""
            raise ValueError(f"{which}must be {wanted}")
    return AccountKeys(tuple(for_all), {account: tuple(keys) for account, keys in for_one.items()})


def _is_api_key(text: str) -> bool:
    """Not more than a key: no account in front of it, and not an account whose key is missing."""
    bare = text.rstrip("=")
    return bool(bare) and "=" not in bare and not (bare != text and UUID.fullmatch(bare))


def _is_public_key(text: str) -> bool:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(raw) == 32 and any(raw)
