"""The settings of what watches: what is overdue when, whom alerts reach, metrics, logs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings

from service import setting_values


class Use(StrEnum):
    ON = "on"
    OFF = "off"


class AlertFormat(StrEnum):
    STANDARD = "standard"  # https://www.standardwebhooks.com
    SLACK = "slack"
    TEAMS = "teams"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


Seconds = Annotated[float, Field(gt=0, le=7 * 86400)]


class WatchSettings(BaseSettings):
    OVERDUE_START_SECONDS: Annotated[
        Seconds, Field(description="after Telnyx accepted it, a session that has not started is overdue")
    ] = 20
    OVERDUE_ANSWER_SECONDS: Annotated[
        Seconds, Field(description="after it became `unanswered`, a session of which nothing was heard is")
    ] = 30
    OVERDUE_STOP_SECONDS: Annotated[
        Seconds, Field(description="after its stop was asked for, a session that has not stopped is")
    ] = 60
    OVERDUE_END_SECONDS: Annotated[
        Seconds, Field(description="after it started, Telnyx is asked whether a session's call goes on")
    ] = 4 * 3600
    ASK_CALLS: Annotated[Use, Field(description="`on`, or `off`: never ask Telnyx for a call")] = Use.ON
    ASK_CALLS_PER_MINUTE: Annotated[
        int, Field(ge=1, le=6000, description="so many calls of each account at most are asked for")
    ] = 60
    ALERT_WEBHOOK_URL: Annotated[
        str | None, AfterValidator(setting_values.webhook_url), Field(description="where alerts are sent")
    ] = None
    ALERT_WEBHOOK_SECRET: Annotated[
        SecretStr | None,
        AfterValidator(setting_values.webhook_secret),
        Field(description="signs alerts of the format `standard`: `whsec_` and 24 to 64 bytes in base64"),
    ] = None
    ALERT_FORMAT: Annotated[
        AlertFormat, Field(description="`standard` (signed as standardwebhooks.com says), `slack` or `teams`")
    ] = AlertFormat.STANDARD
    HEARTBEAT_URL: Annotated[
        str | None,
        AfterValidator(setting_values.webhook_url),
        Field(description="called every minute while all is well"),
    ] = None
    METRICS_TOKEN: Annotated[
        SecretStr | None,
        Field(min_length=16, description="a bearer token that may read `/metrics`, beside API keys"),
    ] = None
    LOG_FORMAT: Annotated[LogFormat, Field(description="`text`, or `json`: an object per line")] = (
        LogFormat.TEXT
    )
