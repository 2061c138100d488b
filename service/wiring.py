"""Builds every part once, from the settings."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from service.config import Settings, SignaturePolicy, WrongConfiguration
from service.domain.deadlines import Limits
from service.ledger.answered import Answered
from service.ledger.backlog import Backlog
from service.ledger.drain import Drain
from service.ledger.ingest import Changed, Ingest
from service.ledger.intake import Intake
from service.ledger.missed import Missed
from service.ledger.rejected import RejectedQueue
from service.ledger.sessions import Sessions
from service.ledger.watch import Watch
from service.spool import Spool
from service.store.engine import Database
from service.telnyx.callback import Reader
from service.telnyx.callback_url import CallbackUrls
from service.telnyx.client import Client, longest_seconds
from service.watch_settings import Use
from service.webhooks import client as webhooks
from service.webhooks.client import Receiver
from service.workers.alerts import AlertEvaluation, AlertSender, WellBeat
from service.workers.asking import Asking, Budget
from service.workers.condition import ProcessCondition
from service.workers.deadlines import Deadlines
from service.workers.drain import DrainWorker
from service.workers.garbage import Garbage
from service.workers.gauges import Gauges
from service.workers.heartbeat import Heartbeat
from service.workers.last_used import LastUsed
from service.workers.numbering import Numbering
from service.workers.overdue import Overdue
from service.workers.runner import Runner
from service.workers.service_alerts import ServiceAlerts
from service.workers.tail import Tail

DRAIN_SECONDS = 0.25
HEARTBEAT_SECONDS = 2.0  # a verdict waits for the next one of each host
GAUGES_SECONDS = 1.0
REJECTED_SECONDS = 0.1
LAST_USED_SECONDS = 60.0
GARBAGE_SECONDS = 1.0
NUMBERING_SECONDS = 0.25  # where only others write
NUMBERING_PAUSE_SECONDS = 0.05  # so that what many commits bring is numbered together
TAIL_SECONDS = 0.1  # where only others number
TAIL_PAUSE_SECONDS = 0.05
ALERTS_SECONDS = 5.0
SEND_SECONDS = 1.0
HEARTBEAT_URL_SECONDS = 60.0
WORKERS_SECONDS = 2.0  # for what they are at, all together, when the process ends


@dataclass(frozen=True)
class Services:
    database: Database
    database_url: str = field(repr=False)  # for processes of their own
    sessions: Sessions
    ingest: Ingest
    intake: Intake
    backlog: Backlog
    drain: Drain
    rejected: RejectedQueue
    numbering: Numbering
    heartbeat: Heartbeat
    missed: Missed
    answered: Answered
    last_used: LastUsed
    tail: Tail
    gauges: Gauges
    reader: Reader
    workers: Sequence[Runner]
    sends_alerts: bool  # somebody is told of them
    clock: Callable[[], datetime]  # UTC

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """After the fork, before the first request. Raises SpoolUnusable."""
        self.backlog.check()
        self.intake.start(loop)
        for worker in self.workers:
            worker.start()

    def stop(self) -> None:
        """When the process ends: all that was answered, or asked of Telnyx, is made durable.

        What the spool holds is left for others at once. Not on the loop; the database is still open.
        """
        for worker in self.workers:
            worker.end()
        self.intake.stop()
        until = time.monotonic() + WORKERS_SECONDS
        for worker in self.workers:
            worker.join(max(0.0, until - time.monotonic()))
        self.backlog.close()
        self.last_used.end()
        self.heartbeat.end()


def wire(settings: Settings) -> Services:
    """Raises WrongConfiguration for settings that do not go together, and DatabaseUnusable."""
    _check_start_deadline(settings)
    telnyx = _client(settings)
    database_url = settings.DATABASE_URL.get_secret_value()
    database = Database(database_url, settings.DATABASE_CONNECTIONS)
    callback_urls = CallbackUrls(settings.PUBLIC_URL, settings.secrets)
    backlog = Backlog(_spool(settings))
    tail = Tail(database)
    tailing = Runner("tail", tail.run_once, TAIL_SECONDS, _now, TAIL_PAUSE_SECONDS)
    numbering = Numbering(database, tailing.wake)
    numberer = Runner("numbering", numbering.run_once, NUMBERING_SECONDS, _now, NUMBERING_PAUSE_SECONDS)
    # On PostgreSQL events get their positions after the commit; on SQLite they have them by then.
    changed = _waking(tailing if database.is_sqlite else numberer)
    ingest = Ingest(database, _now, changed)
    sessions = Sessions(
        database=database,
        telnyx=telnyx,
        callback_urls=callback_urls,
        clock=_now,
        start_deadline=timedelta(seconds=settings.START_DEADLINE_SECONDS),
        in_flight=max(1, settings.THREADS // 4),
        save_later=backlog.save_later,
        changed=changed,
        post_only=settings.TELNYX_PUBLIC_KEY.for_one,
        proven=_proven(settings),
    )
    intake = Intake(database.breaker, ingest, backlog)
    rejected = RejectedQueue(database)
    missed, answered = Missed(), Answered()
    heartbeat = Heartbeat(database, backlog, missed, answered)
    beating = Runner("heartbeat", heartbeat.run_once, HEARTBEAT_SECONDS, _now)
    beating.wake()  # its first beat is at the start
    gauges = Gauges(database.breaker, backlog)
    last_used = LastUsed(database)
    drain = Drain(backlog, database, ingest, sessions.save_answer, lambda: intake.commits)
    deadlines = Deadlines(database, changed)
    overdue = _overdue(settings, database, telnyx, intake, heartbeat)
    drain_worker = DrainWorker(drain, backlog, intake, database.breaker, heartbeat)
    return Services(
        database=database,
        database_url=database_url,
        sessions=sessions,
        ingest=ingest,
        intake=intake,
        backlog=backlog,
        drain=drain,
        rejected=rejected,
        numbering=numbering,
        heartbeat=heartbeat,
        missed=missed,
        answered=answered,
        last_used=last_used,
        tail=tail,
        gauges=gauges,
        reader=_reader(settings, callback_urls),
        workers=[
            Runner("drain", drain_worker.run_once, DRAIN_SECONDS, _now),
            beating,
            Runner("deadlines", deadlines.run_once, settings.WATCH_SECONDS, _now),
            Runner("overdue", overdue.run_once, settings.WATCH_SECONDS, _now),
            Runner("rejected", rejected.write, REJECTED_SECONDS, _now),
            Runner("gauges", gauges.run_once, GAUGES_SECONDS, _now),
            Runner("last used", last_used.run_once, LAST_USED_SECONDS, _now),
            Runner("garbage", Garbage(lambda: intake.is_waited_for).run_once, GARBAGE_SECONDS, _now),
            numberer,
            tailing,
            *_alerting(settings, database, ProcessCondition(database, backlog, intake, rejected, numbering)),
        ],
        sends_alerts=settings.ALERT_WEBHOOK_URL is not None,
        clock=_now,
    )


def receiver(settings: Settings) -> Receiver | None:
    """Who is told of alerts."""
    if settings.ALERT_WEBHOOK_URL is None:
        return None
    secret = settings.ALERT_WEBHOOK_SECRET
    text = None if secret is None else secret.get_secret_value()
    return Receiver(settings.ALERT_WEBHOOK_URL, settings.ALERT_FORMAT, text, _now)


def link_base(settings: Settings) -> str:
    """What stands before the page's paths."""
    return settings.INTERNAL_URL or settings.PUBLIC_URL


def _alerting(settings: Settings, database: Database, condition: ProcessCondition) -> list[Runner]:
    alert_receiver = receiver(settings)
    evaluation = AlertEvaluation(database, sends=alert_receiver is not None)
    of_service = ServiceAlerts(condition.look, alert_receiver, settings.PUBLIC_URL, link_base(settings))
    workers = [
        Runner("alerts", evaluation.run_once, ALERTS_SECONDS, _now),
        Runner("service alerts", of_service.run_once, ALERTS_SECONDS, _now),
    ]
    if alert_receiver is not None:
        sender = AlertSender(database, alert_receiver, link_base(settings))
        workers.append(Runner("alert sender", sender.run_once, SEND_SECONDS, _now))
    if (url := settings.HEARTBEAT_URL) is not None:
        beat = WellBeat(database, lambda: webhooks.beat(url))
        workers.append(Runner("well beat", beat.run_once, HEARTBEAT_URL_SECONDS, _now))
    return workers


def _check_start_deadline(settings: Settings) -> None:
    """A start that still waits for Telnyx must not count as unanswered."""
    least = math.ceil(longest_seconds(settings.TELNYX_TIMEOUT_SECONDS))
    if least > settings.START_DEADLINE_SECONDS:
        raise WrongConfiguration(
            f"START_DEADLINE_SECONDS: must be at least {least}, because with this TELNYX_TIMEOUT_SECONDS "
            "asking Telnyx can take that long"
        )


def _client(settings: Settings) -> Client:
    """Raises WrongConfiguration if nothing could be asked for the account of a start that names none."""
    keys, usual = settings.TELNYX_API_KEY, settings.TELNYX_ACCOUNT_SID
    made = Client(
        settings.TELNYX_BASE_URL,
        next(iter(keys.for_all), None),
        settings.TELNYX_TIMEOUT_SECONDS,
        _now,
        {account_sid: key for account_sid, (key,) in keys.for_one.items()},
    )
    if usual is not None and not made.has_key(usual):
        raise WrongConfiguration("TELNYX_ACCOUNT_SID: must have a key in TELNYX_API_KEY, its own or for all")
    proven = _proven(settings)
    if usual is not None and proven is not None and usual not in proven:
        raise WrongConfiguration(
            "TELNYX_ACCOUNT_SID: must have a key in TELNYX_PUBLIC_KEY, its own or for all"
        )
    return made


def _overdue(
    settings: Settings, database: Database, telnyx: Client, intake: Intake, heartbeat: Heartbeat
) -> Overdue:
    limits = Limits(
        start=timedelta(seconds=settings.OVERDUE_START_SECONDS),
        answer=timedelta(seconds=settings.OVERDUE_ANSWER_SECONDS),
        stop=timedelta(seconds=settings.OVERDUE_STOP_SECONDS),
        end=timedelta(seconds=settings.OVERDUE_END_SECONDS),
    )
    budget = Budget(settings.ASK_CALLS_PER_MINUTE)
    asking = Asking(telnyx.call, telnyx.has_key, budget, is_on=settings.ASK_CALLS is Use.ON)
    watch = Watch(database, limits, asking)
    return Overdue(
        database,
        watch,
        asking,
        callbacks_wait=lambda: intake.is_waited_for,
        many_wait=lambda: intake.are_many_waiting,
        is_blindness_stored=lambda: heartbeat.is_fresh,
    )


def _proven(settings: Settings) -> Collection[str] | None:
    """The accounts whose callbacks can be proven to be Telnyx's; None: all."""
    keys = settings.TELNYX_PUBLIC_KEY
    needs_key = settings.CALLBACK_SIGNATURE is SignaturePolicy.REQUIRED and not keys.for_all
    return keys.for_one if needs_key else None


def _reader(settings: Settings, callback_urls: CallbackUrls) -> Reader:
    keys = settings.TELNYX_PUBLIC_KEY
    must_be_signed = settings.CALLBACK_SIGNATURE is SignaturePolicy.REQUIRED
    return Reader(keys.for_all, callback_urls, must_be_signed=must_be_signed, account_keys=keys.for_one)


def _spool(settings: Settings) -> Spool | None:
    if settings.SPOOL is Use.OFF or settings.SPOOL_DIR is None:
        return None
    return Spool(settings.SPOOL_DIR, settings.SPOOL_LIMIT_MB * 1024 * 1024)


def _waking(worker: Runner) -> Changed:
    def changed(sessions: Collection[str]) -> None:
        if sessions:
            worker.wake()

    return changed


def _now() -> datetime:
    return datetime.now(UTC)
