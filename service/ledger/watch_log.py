"""What the watch writes down: a row per session, and a line for every opening, change, closing and check."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from service.domain.overdue import Watched
from service.store import events, watched
from service.store.batch import Batch
from service.store.due import Watching
from service.store.events import WATCH, Change, EventKind


class WatchLog:
    """Nothing is written before `write`. `found` is session id, before, after."""

    def __init__(self, db: Connection, now: datetime) -> None:
        self._db = db
        self._now = now
        self._changes: list[Change] = []
        self._rows: list[dict[str, object]] = []
        self.found: list[tuple[str, Watched, Watched]] = []

    def add(self, subject: Watching, after: Watched) -> None:
        """Nothing, if nothing has changed. The caller holds the session's row of `due`, or there is none."""
        if after == subject.watched:
            return
        self.found.append((subject.session_id, subject.watched, after))
        self._changes.append(self._change(subject, after))
        self._rows.append(watched.row(subject.session_id, subject.requested_at, after))

    def write(self) -> None:
        watched.save(self._db, self._rows)
        batch = Batch(self._db)
        events.add(batch, self._changes, self._now)
        batch.write()

    def _change(self, subject: Watching, after: Watched) -> Change:
        old, new = subject.watched.facts(), after.facts()
        kind = _kind(subject.watched, after)
        is_opened = kind is EventKind.OVERDUE and after.overdue is not None
        return Change(
            session_id=subject.session_id,
            kind=kind,
            actor=WATCH,
            facts={name: (old[name], new[name]) for name in new if old[name] != new[name]},
            state=subject.state,  # as it stands; a callback may be changing it just now
            account_sid=subject.account_sid,
            siprec_sid=subject.siprec_sid,
            happened_at=after.overdue.since if is_opened and after.overdue else self._now,
        )


def _kind(before: Watched, after: Watched) -> EventKind:
    if before.overdue == after.overdue:
        return EventKind.CALL_CHECKED
    if before.overdue is None:
        return EventKind.OVERDUE
    return EventKind.OVERDUE_CLOSED if after.overdue is None else EventKind.OVERDUE_CHANGED
