"""The environment, read once: every setting, its meaning, and every problem with it at the same time."""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class SignaturePolicy(StrEnum):
    REQUIRED = "required"
    IF_PRESENT = "if_present"


class SpoolUse(StrEnum):
    ON = "on"
    OFF = "off"


class WrongConfiguration(Exception):
    """One line per setting that is missing or wrong; never with its value."""


def _listed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not (parts := [part.strip() for part in value.split(",") if part.strip()]):
        raise ValueError("must not be empty")
    return parts


def _named(value: Any) -> Any:
    if value == "":  # or a path would be the folder that we happen to be in
        raise ValueError("must not be empty")
    return value


def _public_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an http(s) URL without query and fragment")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold credentials")
    if len(value) > 1500:
        raise ValueError("is too long: Telnyx takes callback URLs of 2000 characters at most")
    return value.rstrip("/")


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http(s) URL")
    return value.rstrip("/")


def _secret_key(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < 32:
        raise ValueError("must have at least 32 characters")
    return value


def _public_key(value: str) -> str:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32 or not any(raw):
        raise ValueError("must be the base64 text of a 32-byte Ed25519 key, as Telnyx's portal shows it")
    return value


def database_url(text: str) -> str:
    """The same, if it names a database that we can speak to. Raises ValueError."""
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


def _database_url(value: SecretStr) -> SecretStr:
    database_url(value.get_secret_value())
    return value


def _spool_dir(value: Path | None, info: ValidationInfo) -> Path | None:
    if value is None and info.data.get("SPOOL") is SpoolUse.ON:
        raise ValueError("is required and not set, unless SPOOL is off")
    return value


SecretKey = Annotated[SecretStr, AfterValidator(_secret_key)]


class Settings(BaseSettings):
    """Names are the environment's. An empty value counts as wrong, not as absent."""

    model_config = SettingsConfigDict(hide_input_in_errors=True, extra="ignore", frozen=True)

    PUBLIC_URL: Annotated[
        str,
        AfterValidator(_public_url),
        Field(description="where Telnyx reaches this service, e.g. `https://ledger.example.com`"),
    ]
    SECRET_KEY: Annotated[
        SecretKey, Field(description="signs callback URLs and page cursors; 32 characters or more")
    ]
    SECRET_KEY_FALLBACKS: Annotated[
        list[SecretKey],
        NoDecode,
        BeforeValidator(_listed),
        Field(description="earlier values of `SECRET_KEY`, separated by commas, still honoured"),
    ] = []
    DATABASE_URL: Annotated[
        SecretStr,
        AfterValidator(_database_url),
        Field(
            description="`sqlite:////path/to/ledger.sqlite3` or `postgresql://…` (also `postgres://…`), with "
            "several hosts as `postgresql://a:5432,b:5432/ledger`"
        ),
    ]
    DATABASE_CONNECTIONS: Annotated[
        int, Field(ge=7, le=200, description="to the database at most, for each web process")
    ] = 10
    TELNYX_API_KEY: Annotated[SecretStr, Field(min_length=1, description="the bearer key of Telnyx's API")]
    TELNYX_PUBLIC_KEY: Annotated[
        list[Annotated[str, AfterValidator(_public_key)]],
        NoDecode,
        BeforeValidator(_listed),
        Field(
            min_length=1,
            description="what Telnyx signs callbacks with (base64); several: separated by commas",
        ),
    ]
    TELNYX_BASE_URL: Annotated[
        str, AfterValidator(_base_url), Field(description="Telnyx's API, `/v2` included")
    ] = "https://api.telnyx.com/v2"
    TELNYX_ACCOUNT_SID: Annotated[
        str | None, Field(min_length=1, description="the account of a start that names none")
    ] = None
    TELNYX_TIMEOUT_SECONDS: Annotated[
        float, Field(gt=0, le=60, description="how long one answer of Telnyx is waited for")
    ] = 10
    START_DEADLINE_SECONDS: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="after this, a start without an answer is `unanswered`; refused where "
            "`TELNYX_TIMEOUT_SECONDS` allows an answer to take longer",
        ),
    ] = 60
    CALLBACK_SIGNATURE: Annotated[
        SignaturePolicy,
        Field(
            description="`required`, or `if_present`: an unsigned callback then needs the secret in our URL"
        ),
    ] = SignaturePolicy.REQUIRED
    SPOOL: Annotated[
        SpoolUse, Field(description="`on`, or `off` where no local disk survives a restart of the process")
    ] = SpoolUse.ON
    SPOOL_DIR: Annotated[
        Path | None,
        BeforeValidator(_named),
        AfterValidator(_spool_dir),
        Field(
            validate_default=True,
            description="a folder on local disk for callbacks that the database cannot take; required unless "
            "`SPOOL` is `off`",
        ),
    ] = None
    SPOOL_LIMIT_MB: Annotated[
        int, Field(ge=1, le=1_000_000, description="how much the spool may hold; beyond it callbacks get 503")
    ] = 1024
    WATCH_SECONDS: Annotated[
        float, Field(gt=0, le=60, description="how often each web process looks for what did not happen")
    ] = 1
    THREADS: Annotated[
        int, Field(ge=4, le=256, description="per web process; a quarter of them may wait for Telnyx")
    ] = 32
    WEB_CONCURRENCY: Annotated[
        int, Field(ge=1, le=64, description="web processes; on SQLite leave it at 1")
    ] = 1
    HOST: Annotated[str, Field(min_length=1, description="the address to listen on")] = "0.0.0.0"  # noqa: S104 (a container's door; the platform decides who reaches it)
    PORT: Annotated[int, Field(ge=0, le=65535, description="the port to listen on")] = 8000

    @property
    def secrets(self) -> list[str]:
        """The one that signs first, then those that are still honoured."""
        return [key.get_secret_value() for key in (self.SECRET_KEY, *self.SECRET_KEY_FALLBACKS)]


def load() -> Settings:
    """Raises WrongConfiguration with every problem at once."""
    try:
        return Settings()
    except ValidationError as wrong:
        lines = sorted(
            {f"{error['loc'][0]}: {_reason(error)}" for error in wrong.errors(include_input=False)}
        )
        raise WrongConfiguration("\n".join(lines)) from None


def _reason(error: Any) -> str:
    if error["type"] == "missing":
        return "is required and not set"
    return str(error["msg"]).removeprefix("Value error, ")
