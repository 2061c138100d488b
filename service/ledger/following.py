"""Events are followed: what a session waits for is written down, what came after all taken back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from service.domain import deadlines
from service.domain.deadlines import Deadline, Limits
from service.domain.overdue import OverdueKind
from service.ledger.look import Asking
from service.ledger.watch_log import WatchLog
from service.store import due, unseen, watching
from service.store.batch import Batch
from service.store.due import Due
from service.store.processes import now_of
from service.store.watching import Watching


def deadline_of(subject: Watching, since: datetime, limits: Limits) -> Deadline | None:
    """Of what it waits for since then."""
    kind = deadlines.awaited(
        subject.state, is_stop_requested=subject.is_stop_requested, is_merged=subject.is_merged
    )
    return None if kind is None else Deadline(kind, since, limits.of(kind))


class Following:
    def __init__(self, limits: Limits, asking: Asking) -> None:
        self._limits = limits
        self._asking = asking

    def follow(self, db: Connection, most: int) -> tuple[int, int]:
        """See the next events, `most` at most; how many, and how many are left. 0: nothing is written."""
        turn = unseen.take_turn(db)
        if turn is None:
            return 0, 0
        position, last = turn
        until = min(last, position + most)
        if until <= position:
            return 0, 0
        since = unseen.see(db, position, until)
        if since:
            self._write(db, since)
        unseen.move(db, until)
        return until - position, last - until

    def _write(self, db: Connection, since: dict[str, datetime]) -> None:
        held = due.lock(db, since.keys())
        subjects = watching.of(db, since.keys())  # only now: nobody finds out more meanwhile
        now = now_of(db)
        log, new = WatchLog(now), list[Due]()
        for session_id, subject in subjects.items():
            waits = self._waits(subject, since[session_id], now)
            if waits is not None:
                new.append(waits)
                held.pop(session_id, None)
            overdue = subject.watched.overdue
            if overdue and (waits is None or waits.kind is not overdue.kind):
                log.add(subject, replace(subject.watched, overdue=None))
        due.remove(db, held.keys())  # they wait for nothing any more
        batch = Batch(db)
        due.put(batch, new)
        log.write(batch)
        batch.write()

    def _waits(self, subject: Watching, since: datetime, now: datetime) -> Due | None:
        deadline = deadline_of(subject, since, self._limits)
        if deadline is None or deadline.is_too_late(now):
            return None
        if deadline.kind is OverdueKind.STOPPED_EARLY and not self._asking.is_possible(subject.account_sid):
            return None  # nobody else can say that its call goes on
        return Due(subject.session_id, deadline.kind, since, deadline.at)
