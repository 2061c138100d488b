"""What works behind the doors, built once from the settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from service.config import Settings, SignaturePolicy, SpoolUse, WrongConfiguration
from service.ledger.backlog import Backlog
from service.ledger.ingest import Ingest
from service.ledger.intake import Intake
from service.ledger.sessions import Sessions
from service.spool import Spool
from service.store.engine import Database
from service.telnyx.callback import Reader
from service.telnyx.callback_url import CallbackUrls
from service.telnyx.client import Client, longest_seconds
from service.workers.deadlines import Deadlines

SPARE_CONNECTIONS = 2  # for the watch and the drain, so that they never wait for a request


@dataclass(frozen=True)
class Services:
    database: Database
    sessions: Sessions
    ingest: Ingest
    backlog: Backlog
    intake: Intake
    reader: Reader
    watch: Deadlines
    clock: Callable[[], datetime]  # UTC

    def start(self) -> None:
        """After the fork. Raises SpoolUnusable."""
        self.intake.start()
        self.watch.start()

    def stop(self) -> None:
        """When the process ends: what the spool holds is left for others at once."""
        self.watch.stop()
        self.intake.stop()
        self.database.close()


def wire(settings: Settings) -> Services:
    """Raises WrongConfiguration for settings that do not go together."""
    _check_start_deadline(settings)
    database = Database(settings.DATABASE_URL.get_secret_value(), settings.THREADS + SPARE_CONNECTIONS)
    callback_urls = CallbackUrls(settings.PUBLIC_URL, settings.secrets)
    api_key = settings.TELNYX_API_KEY.get_secret_value()
    spool = _spool(settings)
    backlog = Backlog(spool)
    ingest = Ingest(database, _now, _changed)
    sessions = Sessions(
        database=database,
        telnyx=Client(settings.TELNYX_BASE_URL, api_key, settings.TELNYX_TIMEOUT_SECONDS, _now),
        callback_urls=callback_urls,
        clock=_now,
        start_deadline=timedelta(seconds=settings.START_DEADLINE_SECONDS),
        in_flight=max(1, settings.THREADS // 4),
        save_later=backlog.save_later,
        changed=_changed,
    )
    must_be_signed = settings.CALLBACK_SIGNATURE is SignaturePolicy.REQUIRED
    return Services(
        database=database,
        sessions=sessions,
        ingest=ingest,
        backlog=backlog,
        intake=Intake(database, ingest, sessions, spool),
        reader=Reader(settings.TELNYX_PUBLIC_KEY, callback_urls, must_be_signed=must_be_signed),
        watch=Deadlines(sessions, backlog, timedelta(seconds=settings.WATCH_SECONDS)),
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


def _spool(settings: Settings) -> Spool | None:
    if settings.SPOOL is SpoolUse.OFF or settings.SPOOL_DIR is None:
        return None
    return Spool(settings.SPOOL_DIR, settings.SPOOL_LIMIT_MB * 1024 * 1024)


def _changed(_sessions: Collection[str]) -> None:
    """Where readers that wait for a session will listen."""


def _now() -> datetime:
    return datetime.now(UTC)
