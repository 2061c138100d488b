"""What a transaction adds to the metrics once it is committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from service import metrics
from service.domain.ids import made_at
from service.domain.notice import Notice, NoticeKind
from service.domain.session import LockedSession, Origin

FALSE_TRUE = ("false", "true")


@dataclass
class Tally:
    """By the labels of the metric: callbacks; and for each session that started, seconds by either clock."""

    callbacks: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    started: list[tuple[float, float]] = field(default_factory=list)

    def receive(self, notice: Notice, *, is_repeat: bool) -> None:
        lateness = _lateness(notice.happened_at, notice.received_at)
        self.callbacks[notice.kind.label, FALSE_TRUE[is_repeat], lateness] += 1

    def start(self, before: LockedSession, after: LockedSession, notices: Iterable[Notice]) -> None:
        """If it is by what was learned here that it has started. Nobody asked us for an adopted one."""
        started_at = after.progress.started_at
        if started_at is None or before.progress.started_at is not None or after.origin is Origin.ADOPTED:
            return
        received = [notice.received_at for notice in notices if notice.kind is NoticeKind.STARTED]
        if received:
            asked_at = made_at(after.id)
            by_telnyx, by_us = started_at - asked_at, min(received) - asked_at
            self.started.append((by_telnyx.total_seconds(), by_us.total_seconds()))

    def add(self) -> None:
        """Once it is committed. Never raises: what is committed is answered, counted or not."""
        with metrics.counting():
            metrics.count_callbacks(self.callbacks)
            for by_telnyx, by_us in self.started:
                metrics.observe_started(by_telnyx, by_us)


def _lateness(happened_at: datetime | None, received_at: datetime) -> str:
    if happened_at is None:
        return "unknown"
    seconds = (received_at - happened_at).total_seconds()
    if seconds < 5:
        return "under_5s"
    return "under_1m" if seconds < 60 else "over_1m"
