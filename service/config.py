"""The environment, read once: every setting, its meaning, and every problem with it at the same time."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo
from pydantic_settings import NoDecode, SettingsConfigDict

from service import setting_values
from service.bind import Bind
from service.setting_values import AccountKeys
from service.watch_settings import Use, WatchSettings


class SignaturePolicy(StrEnum):
    REQUIRED = "required"
    IF_PRESENT = "if_present"


class WrongConfiguration(Exception):
    """One line per setting that is missing or wrong; never with its value."""


def _secret_key(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < 32:
        raise ValueError("must have at least 32 characters")
    return value


def _database_url(value: SecretStr) -> SecretStr:
    setting_values.database_url(value.get_secret_value())
    return value


def _spool_dir(value: Path | None, info: ValidationInfo) -> Path | None:
    if value is None and info.data.get("SPOOL") is Use.ON:
        raise ValueError("is required and not set, unless SPOOL is off")
    return value


def _internal_bind(value: Any) -> Any:
    return Bind.read(value) if isinstance(value, str) else value


def _apart(value: Bind | None, info: ValidationInfo) -> Bind | None:
    host, port = info.data.get("HOST"), info.data.get("PORT")
    if value is not None and host is not None and port is not None and value.overlaps(host, port):
        raise ValueError("must be another address than HOST and PORT, which are for the outside")
    return value


def _internal_url(value: str | None, info: ValidationInfo) -> str | None:
    if value is None:
        return None
    if info.data.get("INTERNAL_BIND", value) is None:
        raise ValueError("is the address of INTERNAL_BIND, which is not set")
    return setting_values.plain_url(value)


SecretKey = Annotated[SecretStr, AfterValidator(_secret_key)]


class Settings(WatchSettings):
    """Names are the environment's. An empty value counts as wrong, not as absent."""

    model_config = SettingsConfigDict(hide_input_in_errors=True, extra="ignore", frozen=True)

    PUBLIC_URL: Annotated[
        str,
        AfterValidator(setting_values.public_url),
        Field(description="where Telnyx reaches this service, e.g. `https://ledger.example.com`"),
    ]
    SECRET_KEY: Annotated[
        SecretKey, Field(description="signs callback URLs and page cursors; 32 characters or more")
    ]
    SECRET_KEY_FALLBACKS: Annotated[
        list[SecretKey],
        NoDecode,
        BeforeValidator(setting_values.listed),
        Field(description="earlier values of `SECRET_KEY`, separated by commas, still honoured"),
    ] = []  # noqa: RUF012 (pydantic copies it)
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
    TELNYX_API_KEY: Annotated[
        AccountKeys,
        NoDecode,
        BeforeValidator(setting_values.api_keys),
        Field(
            description="the bearer key of Telnyx's API; several, each for its account: `account=key`, "
            "separated by commas"
        ),
    ]
    TELNYX_PUBLIC_KEY: Annotated[
        AccountKeys,
        NoDecode,
        BeforeValidator(setting_values.public_keys),
        Field(
            description="what Telnyx signs callbacks with (base64); several: separated by commas; one that "
            "vouches for one account only: `account=key`"
        ),
    ]
    TELNYX_BASE_URL: Annotated[
        str, AfterValidator(setting_values.base_url), Field(description="Telnyx's API, `/v2` included")
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
        Use, Field(description="`on`, or `off` where no local disk survives a restart of the process")
    ] = Use.ON
    SPOOL_DIR: Annotated[
        Path | None,
        BeforeValidator(setting_values.named),
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
    INTERNAL_BIND: Annotated[
        Bind | None,
        NoDecode,
        BeforeValidator(_internal_bind),
        AfterValidator(_apart),
        Field(
            description="a listener for the inside: `127.0.0.1:8001`, `[::1]:8001` or `unix:/path`; the "
            "other one then serves callbacks and `/healthz` only"
        ),
    ] = None
    INTERNAL_URL: Annotated[
        str | None,
        AfterValidator(_internal_url),
        Field(description="where apps reach `INTERNAL_BIND`, e.g. `https://ledger.internal`"),
    ] = None

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
