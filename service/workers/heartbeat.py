"""Says in the database that this process is alive, what waits on its disk, and when it was blind."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from service.domain.ids import new_id, period_at
from service.ledger.answered import Answered
from service.ledger.backlog import Backlog
from service.ledger.missed import Missed, Period
from service.log_lines import fields
from service.store import answer_counts, blind_periods, processes, spools
from service.store.blind_periods import GAP, Why
from service.store.engine import Database, DatabaseError, DatabaseUnready
from service.store.outages import no_outage
from service.store.spools import SeenSpool

BEAT_SECONDS: Final = 1.0
END_SECONDS: Final = 0.25
ANSWERED_FOR: Final = timedelta(days=2)  # so long it is known how many were answered 200

log = logging.getLogger(__name__)


class Heartbeat:
    """One row of this process, and one of its spool, which others may share.

    `now` is only used for what is on this host's disk, by this host's clock.
    """

    def __init__(self, database: Database, backlog: Backlog, missed: Missed, answered: Answered) -> None:
        self._database = database
        self._backlog = backlog
        self._missed = missed
        self._answered = answered
        self._id = new_id()
        self._host = socket.gethostname()
        self._began: float | None = None  # monotonic; from then on callbacks are taken
        self._beaten_at: datetime | None = None  # by the database's clock
        self._beaten = 0.0  # monotonic, a moment earlier
        self._has_row = self._has_stored_absence = False
        self._last_alive: tuple[str, datetime] | None = None  # of all processes, before the first beat

    @property
    def is_fresh(self) -> bool:
        """Within the last 15 s the database was told of this process, its spool and when it was blind.

        If not, it may take a host for empty, or nobody for away, for want of what this process has to say.
        """
        return self._beaten_at is not None and time.monotonic() - self._beaten < GAP.total_seconds()

    def run_once(self, now: datetime) -> None:
        """Raises DatabaseError."""
        self._begin()
        if self._database.breaker.takes_writes:
            self.beat(now)
        elif not self._takes_callbacks():
            self._missed.count()  # load balancers see it too, and send nothing

    def beat(self, now: datetime) -> None:
        """Raises DatabaseError."""
        self._begin()
        unavailable_since = self._database.breaker.unavailable_since
        answered = self._answered.unsaved()  # before the spool is looked at: what is on its disk is counted
        oldest, here = self._oldest_at(now), time.monotonic()
        if not self._has_stored_absence:
            self._tell_absence()
        # Always as a probe: that a heartbeat is taken says nothing of callbacks.
        with self._database.begin(time.monotonic() + BEAT_SECONDS, is_probe=True) as db:
            moment = processes.now_of(db)
            processes.beat(db, self._id, self._host, oldest, unavailable_since)
        self._has_row = True
        # Only now: of what came before `moment` nothing is left out.
        seen, missed = self._seen(now), self._missed.unsaved()
        # Apart, and no outage: callbacks shall not wait for a table or a grant that only this needs.
        with self._database.begin(time.monotonic() + BEAT_SECONDS) as db, no_outage():
            if self._beaten_at is None:
                blind_periods.forget(db, moment)
                spools.forget(db, moment)
            elif moment - self._beaten_at > GAP:
                blind_periods.save_silence(db, new_id(), self._host, self._beaten_at, moment)
            if seen is not None:
                spools.beat(db, seen, moment)
            for one in missed:
                began, ended = _moments(one, moment)
                blind_periods.save(db, one.id, self._host, Why.REFUSED, began, ended)
        self._beaten_at, self._beaten = moment, here
        self._missed.saved(missed)
        self._save_answered(answered, moment)

    def _save_answered(self, answered: Mapping[str, int], now: datetime) -> None:
        """After the spool's row, so that whoever sees the count sees what of it waits on the disk."""
        if not answered:
            return
        try:
            with self._database.begin(time.monotonic() + BEAT_SECONDS) as db, no_outage():
                answer_counts.save(db, self._id, answered)
                answer_counts.forget(db, period_at(now - ANSWERED_FOR))
        except DatabaseUnready as error:  # the table is of a later migration than others need
            log.warning("how many were answered 200 was not written", extra=fields(error=error))
        else:
            self._answered.saved(answered)

    def end(self) -> None:
        """After the last callback: who uses the spool last leaves no row of one that holds nothing."""
        if not (self._backlog.is_last() and self._database.breaker.takes_writes):
            return
        self._backlog.survey()
        seen = self._seen(datetime.now(UTC))
        try:
            with self._database.begin(time.monotonic() + END_SECONDS) as db:
                if seen is not None and seen.holds_callbacks:
                    spools.beat(db, seen, processes.now_of(db))
                elif seen is not None:
                    spools.remove(db, seen.id)
        except DatabaseError as error:
            log.warning("the end of this host was not written", extra=fields(error=error))

    def _begin(self) -> None:
        if self._began is None:
            self._began = time.monotonic()

    def _tell_absence(self) -> None:
        """Before this process has a row: whoever begins next would find it, and nobody absent."""
        assert self._began is not None
        try:
            with self._database.begin(time.monotonic() + BEAT_SECONDS, is_probe=True) as db, no_outage():
                if not self._has_row:
                    self._last_alive = processes.last_alive(db)
                if self._last_alive is not None:
                    taken = timedelta(seconds=time.monotonic() - self._began)
                    blind_periods.save_absence(db, *self._last_alive, processes.now_of(db) - taken)
        except DatabaseUnready as error:
            log.warning("the time without any process was not written", extra=fields(error=error))
        else:
            self._has_stored_absence = True

    def _takes_callbacks(self) -> bool:
        depth = self._backlog.depth()
        return self._database.breaker.takes_writes or (depth is not None and depth.is_usable)

    def _oldest_at(self, now: datetime) -> datetime | None:
        depth = self._backlog.depth()
        return None if depth is None or depth.age is None else now - timedelta(seconds=depth.age)

    def _seen(self, now: datetime) -> SeenSpool | None:
        if not self._backlog.is_surveyed:
            self._backlog.survey()  # or what lies there from before would not be counted
        id, depth = self._backlog.spool_id, self._backlog.depth()
        if id is None or depth is None or not self._backlog.is_surveyed:
            return None
        return SeenSpool(id, self._host, depth.entries, self._oldest_at(now), depth.dead_letters)


def _moments(period: Period, now: datetime) -> tuple[datetime, datetime]:
    """By the database's clock, where it is `now`."""
    here = time.monotonic()
    return now - timedelta(seconds=here - period.began), now - timedelta(seconds=here - period.ended)
