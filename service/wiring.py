"""Builds every part once, from the settings."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from service.config import Settings, SignaturePolicy, SpoolUse, WrongConfiguration
from service.ledger.backlog import Backlog
from service.ledger.drain import Drain
from service.ledger.ingest import Ingest
from service.ledger.intake import Intake
from service.ledger.sessions import Sessions
from service.spool import Spool
from service.store.engine import Database
from service.telnyx.callback import Reader
from service.telnyx.callback_url import CallbackUrls
from service.telnyx.client import Client, longest_seconds
from service.workers.deadlines import Deadlines
from service.workers.drain import DrainWorker
from service.workers.heartbeat import Heartbeat
from service.workers.runner import Runner

SPARE_CONNECTIONS: Final = 2  # for the workers, so that they never wait for a request
DRAIN_SECONDS: Final = 0.25
HEARTBEAT_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Services:
    database: Database
    sessions: Sessions
    ingest: Ingest
    backlog: Backlog
    intake: Intake
    reader: Reader
    runners: tuple[Runner, ...]
    clock: Callable[[], datetime]  # UTC

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """After the fork; callbacks come in on `loop`. Raises SpoolUnusable."""
        self.backlog.check()
        self.intake.start(loop)
        for runner in self.runners:
            runner.start()

    def stop(self) -> None:
        """When the process ends: what the spool holds is left for others at once."""
        for runner in self.runners:
            runner.stop()
        self.intake.stop()
        self.backlog.close()
        self.database.close()


def wire(settings: Settings) -> Services:
    """Raises WrongConfiguration for settings that do not go together."""
    _check_start_deadline(settings)
    database = Database(settings.DATABASE_URL.get_secret_value(), settings.THREADS + SPARE_CONNECTIONS)
    callback_urls = CallbackUrls(settings.PUBLIC_URL, settings.secrets)
    backlog = Backlog(_spool(settings))
    ingest = Ingest(database, _now, _changed)
    sessions = Sessions(
        database=database,
        telnyx=_client(settings),
        callback_urls=callback_urls,
        clock=_now,
        start_deadline=timedelta(seconds=settings.START_DEADLINE_SECONDS),
        in_flight=max(1, settings.THREADS // 4),
        save_later=backlog.save_later,
        changed=_changed,
    )
    intake = Intake(database.breaker, ingest, backlog)
    must_be_signed = settings.CALLBACK_SIGNATURE is SignaturePolicy.REQUIRED
    return Services(
        database=database,
        sessions=sessions,
        ingest=ingest,
        backlog=backlog,
        intake=intake,
        reader=Reader(settings.TELNYX_PUBLIC_KEY, callback_urls, must_be_signed=must_be_signed),
        runners=_runners(settings, database, sessions, ingest, backlog, intake),
        clock=_now,
    )


def _check_start_deadline(settings: Settings) -> None:
    """A start that still waits for Telnyx must not count as unanswered."""
    least = math.ceil(longest_seconds(settings.TELNYX_TIMEOUT_SECONDS))
    if least > settings.START_DEADLINE_SECONDS:
        raise WrongConfiguration(
            f"START_DEADLINE_SECONDS: must be at least {least}, because with this TELNYX_TIMEOUT_SECONDS "
            "asking Telnyx can take that long"
        )


def _client(settings: Settings) -> Client:
    api_key = settings.TELNYX_API_KEY.get_secret_value()
    return Client(settings.TELNYX_BASE_URL, api_key, settings.TELNYX_TIMEOUT_SECONDS, _now)


def _runners(
    settings: Settings,
    database: Database,
    sessions: Sessions,
    ingest: Ingest,
    backlog: Backlog,
    intake: Intake,
) -> tuple[Runner, ...]:
    heartbeat = Heartbeat(database, backlog)
    drain = Drain(backlog, database, ingest, sessions.save_answer, lambda: intake.commits)
    worker = DrainWorker(drain, backlog, intake, database.breaker, heartbeat)
    deadlines = Deadlines(sessions, database.breaker)
    return (
        Runner("drain", worker, DRAIN_SECONDS, _now),
        Runner("heartbeat", heartbeat, HEARTBEAT_SECONDS, _now),
        Runner("deadlines", deadlines, settings.WATCH_SECONDS, _now),
    )


def _spool(settings: Settings) -> Spool | None:
    if settings.SPOOL is SpoolUse.OFF or settings.SPOOL_DIR is None:
        return None
    return Spool(settings.SPOOL_DIR, settings.SPOOL_LIMIT_MB * 1024 * 1024)


def _changed(_sessions: Collection[str]) -> None:
    """Where readers that wait for a session will listen."""


def _now() -> datetime:
    return datetime.now(UTC)
