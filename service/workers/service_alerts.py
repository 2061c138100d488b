"""Alerts of the service itself, from memory: they need no database, and each process sends its own."""

from __future__ import annotations

import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from service.domain import service_alerts
from service.domain.alerts import REMIND_EVERY, NoticeKind
from service.domain.service_alerts import Condition, Finding
from service.log_lines import fact, fields
from service.webhooks.client import Receiver
from service.webhooks.message import Message

LINGER: Final = timedelta(minutes=1)  # gone for so long, it has ended
FIRST_BACKOFF_SECONDS: Final = 5.0
LONGEST_BACKOFF_SECONDS: Final = 300.0
MOST_ENDED: Final = 20  # whose messages are not sent yet

log = logging.getLogger(__name__)


@dataclass
class _Open:
    id: str
    finding: Finding
    opened_at: datetime
    seen_at: datetime
    noticed_at: datetime
    notice: int = 0
    kind: NoticeKind = NoticeKind.OPENED
    is_pending: bool = False
    tries: int = 0
    next_try: float = 0.0  # monotonic


class ServiceAlerts:
    """`look` gives the process's condition. What is open is known to this process alone.

    A process that dies forgets what it had open, and never tells its end; the next one tells of it again,
    with the same id where it began in the same ten minutes.
    """

    def __init__(
        self,
        look: Callable[[datetime], Condition],
        receiver: Receiver | None,
        service: str,
        link_base: str,
        host: str | None = None,
    ) -> None:
        self._look = look
        self._receiver = receiver
        self._service = service
        self._link_base = link_base
        self._host = host or socket.gethostname()
        self._open: dict[str, _Open] = {}
        self._ended: deque[_Open] = deque(maxlen=MOST_ENDED)

    def run_once(self, now: datetime) -> None:
        """By this host's clock."""
        found = {one.cause.code: one for one in service_alerts.findings(self._look(now))}
        for code, finding in found.items():
            self._see(code, finding, now)
        for code in [code for code in self._open if code not in found]:
            self._miss(code, now)
        if self._receiver is not None:
            self._send(self._receiver)

    def _see(self, code: str, finding: Finding, now: datetime) -> None:
        known = self._open.get(code)
        if known is None:
            began_at = now - timedelta(seconds=finding.since_seconds)
            id = service_alerts.alert_id(code, self._service, self._host, began_at)
            known = self._open[code] = _Open(id, finding, now, now, now)
            self._tell(known, NoticeKind.OPENED, now)
        elif now - known.noticed_at >= REMIND_EVERY:
            self._tell(known, NoticeKind.REMINDED, now)
        known.finding, known.seen_at = finding, now

    def _miss(self, code: str, now: datetime) -> None:
        known = self._open[code]
        if now - known.seen_at >= LINGER:
            del self._open[code]
            self._tell(known, NoticeKind.ENDED, now)
            self._ended.append(known)

    def _tell(self, alert: _Open, kind: NoticeKind, now: datetime) -> None:
        alert.notice += 1
        alert.kind, alert.noticed_at, alert.is_pending = kind, now, True
        alert.tries, alert.next_try = 0, 0.0
        level = logging.INFO if kind is NoticeKind.ENDED else logging.ERROR
        words = alert.finding.cause.words
        named = fact(cause=alert.finding.cause.code, words=words)
        log.log(level, "service alert %s", kind, extra=named)

    def _send(self, receiver: Receiver) -> None:
        for alert in [*self._ended, *self._open.values()]:
            if not alert.is_pending or time.monotonic() < alert.next_try:
                continue
            outcome = receiver.send(self._message(alert))
            alert.is_pending = not outcome.is_taken
            if alert.is_pending:
                if alert.tries == 0:
                    named = fields(alert_id=alert.id, error=outcome.text)
                    log.error("alert not sent, will try again", extra=named)
                backoff = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(alert.tries, 10))
                alert.tries, alert.next_try = alert.tries + 1, time.monotonic() + backoff
                break  # the others' turn is the next one: what is wrong has to be looked for meanwhile
        self._ended = deque((one for one in self._ended if one.is_pending), MOST_ENDED)

    def _message(self, alert: _Open) -> Message:
        cause, is_over = alert.finding.cause, alert.kind is NoticeKind.ENDED
        figure = "this has ended" if is_over else alert.finding.figure
        return Message(
            id=f"{alert.id}.{alert.notice}",
            kind=alert.kind.value,
            words=f"{cause.words} (seen on {self._host}): {figure}.",
            side=cause.side,
            what_to_do=cause.what_to_do,
            link=f"{self._link_base}/",
            at=alert.noticed_at,
            alert={
                "id": alert.id,
                "notice": alert.notice,
                "state": "ended" if is_over else "open",
                "cause": cause.code,
                "host": self._host,
                "opened_at": alert.opened_at.isoformat(),
                "ended_at": alert.noticed_at.isoformat() if is_over else None,
            },
        )
