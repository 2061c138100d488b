"""What the watch writes down: a row per session, and a line for every opening, change, closing and check."""

from __future__ import annotations

from datetime import datetime

from service.domain.overdue import Watched
from service.store import events, watching
from service.store.batch import Batch
from service.store.events import WATCH, Change, EventKind
from service.store.watching import Watching


class WatchLog:
    """Nothing is written before `write`. `found` is session id, before, after."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._changes: list[Change] = []
        self._found: list[tuple[Watching, Watched]] = []

    @property
    def found(self) -> list[tuple[str, Watched, Watched]]:
        return [(one.session_id, one.watched, after) for one, after in self._found]

    def add(self, subject: Watching, after: Watched) -> None:
        """Nothing, if nothing has changed. The caller holds the session's row of `due`, or there is none."""
        if after == subject.watched:
            return
        self._found.append((subject, after))
        self._changes.append(self._change(subject, after))

    def write(self, batch: Batch) -> None:
        watching.save(batch, self._found)
        events.add(batch, self._changes, self._now)

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
