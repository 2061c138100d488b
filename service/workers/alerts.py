"""Evaluates alerts, sends their messages, and calls HEARTBEAT_URL while all is well."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from service.domain import alerts as rules
from service.ledger import wellness
from service.ledger.alerts import Evaluation
from service.log_lines import fields
from service.store import alerts, processes
from service.store.alerts import Alert
from service.store.engine import Database
from service.webhooks.client import LONGEST_SEND, Outcome, Receiver
from service.webhooks.message import Message

REST: Final = 10  # times as long as the last evaluation took
LEASE: Final = timedelta(seconds=2 * LONGEST_SEND)
FIRST_BACKOFF_SECONDS: Final = 5.0
LONGEST_BACKOFF_SECONDS: Final = 300.0
GIVEN_UP_AFTER: Final = timedelta(days=1)  # since it ended; never while it is open
MOST_AT_ONCE: Final = 20

log = logging.getLogger(__name__)


class AlertEvaluation:
    """Any number of processes may: the database decides whose turn it is."""

    def __init__(self, database: Database, *, sends: bool) -> None:
        self._database = database
        self._evaluation = Evaluation(database, sends=sends)
        self._rests_until = 0.0

    def run_once(self, _now: datetime) -> None:
        """Raises DatabaseError."""
        began = time.monotonic()
        if began < self._rests_until or not self._database.breaker.takes_writes:
            return
        try:
            with self._database.read() as db:
                now = processes.now_of(db)
            self._evaluation.run(now)
        finally:
            ended = time.monotonic()
            self._rests_until = ended + REST * (ended - began)


class AlertSender:
    """In a thread of its own: a slow receiver delays nothing else.

    A message is leased before it is sent and marked when it was taken, so what a process leaves undone when
    it dies is sent again, with the same id.
    """

    def __init__(self, database: Database, receiver: Receiver, link_base: str) -> None:
        self._database = database
        self._receiver = receiver
        self._link_base = link_base

    def run_once(self, _now: datetime) -> None:
        """Raises DatabaseError."""
        for _ in range(MOST_AT_ONCE):
            if not self._database.breaker.takes_writes or not self._send_next():
                return

    def _send_next(self) -> bool:
        """Whether there was one."""
        with self._database.read() as db:
            now, next_at = processes.now_of(db), alerts.next_notice_at(db)
        if next_at is None or next_at > now:
            return False
        with self._database.begin() as db:
            leased = alerts.lease_notice(db, now, LEASE)
        if leased is None:
            return False
        outcome = self._receiver.send(message_of(leased, self._link_base))
        with self._database.begin() as db:
            if outcome.is_taken:
                alerts.notice_sent(db, leased)
            else:
                alerts.postpone_notice(db, leased, _next_try(leased, processes.now_of(db)))
        _log(leased, outcome)
        return True


def _next_try(failed: Alert, now: datetime) -> datetime | None:
    if failed.ended_at is not None and now - failed.ended_at > GIVEN_UP_AFTER:
        return None
    seconds = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(failed.notice_tries, 10))
    return now + timedelta(seconds=seconds)


def _log(sent: Alert, outcome: Outcome) -> None:
    if outcome.is_taken:
        log.info("alert sent", extra=fields(alert_id=sent.id, notice=sent.notice, kind=sent.notice_kind))
    elif sent.notice_tries == 0:  # once for each message; the tries are counted in the database
        named = fields(alert_id=sent.id, notice=sent.notice, error=outcome.text)
        log.error("alert not sent, will try again", extra=named)


def message_of(alert: Alert, link_base: str) -> Message:
    """As the alert stands: a message that is sent late says what is known then."""
    cause = rules.of(alert.cause)
    return Message(
        id=f"{alert.id}.{alert.notice}",
        kind=alert.notice_kind.value,
        words=rules.words(alert.subject, alert.affected, alert.total, is_over=alert.ended_at is not None),
        side=cause.side,
        what_to_do=cause.what_to_do,
        link=f"{link_base}{rules.path(alert.subject)}",
        at=alert.noticed_at,
        alert=_document(alert),
    )


def _document(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "notice": alert.notice,
        "state": "ended" if alert.ended_at else "acknowledged" if alert.acknowledged_at else "open",
        "cause": alert.cause,
        "connector_name": alert.connector_name or None,
        "account_sid": alert.account_sid or None,
        "affected": alert.affected,
        "total": alert.total,
        "example_session_id": alert.example,
        "opened_at": alert.opened_at.isoformat(),
        "acknowledged_by": alert.acknowledged_by,
        "ended_at": alert.ended_at.isoformat() if alert.ended_at else None,
    }


class WellBeat:
    """Calls HEARTBEAT_URL while all is well. Each process does: one too many harms nobody.

    Silence is the signal: whoever watches there raises the alarm, also when nothing of ours runs any more.
    """

    def __init__(self, database: Database, beat: Callable[[], Outcome]) -> None:
        self._database = database
        self._beat = beat
        self._has_failed = False

    def run_once(self, _now: datetime) -> None:
        """Raises DatabaseError: then all is not well."""
        with self._database.read() as db:
            found = wellness.look(db, processes.now_of(db))
        if not found.is_well or not self._database.breaker.takes_writes:
            return
        outcome = self._beat()
        if not outcome.is_taken and not self._has_failed:
            log.warning("HEARTBEAT_URL did not take the heartbeat", extra=fields(error=outcome.text))
        self._has_failed = not outcome.is_taken
