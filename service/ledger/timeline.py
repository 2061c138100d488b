"""What a transaction writes to the events of its sessions: what changed, since when, and who caused it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from service.domain import progress as rules
from service.domain.notice import Notice
from service.domain.session import LockedSession, Origin
from service.store import events
from service.store.batch import Batch
from service.store.events import TELNYX, Change, EventKind

Facts = dict[str, tuple[object, object]]  # fact -> (before, after)


@dataclass
class _Cause:
    """What was learned of one session: the notice that says most, and whether it came late."""

    actor: str
    happened_at: datetime
    rank: tuple[int, datetime] | None = None  # of the callback that says most
    callback_id: str | None = None
    is_late: bool = False  # received before what was known already


class Timeline:
    """`sessions` as they stood before anything was learned, and every fact that changes from then on."""

    def __init__(self, sessions: Mapping[str, LockedSession]) -> None:
        self._before = dict(sessions)
        self._after: dict[str, LockedSession] = {}
        self._changes: dict[str, Facts] = {}  # between the two
        self._causes: dict[str, _Cause] = {}
        self._answered: set[str] = set()
        self._merges: list[Change] = []
        self._merged: set[str] = set()

    def learn(self, session_id: str, actor: str, happened_at: datetime) -> None:
        """Of Telnyx's answer, or of a wish to stop."""
        self._causes[session_id] = _Cause(actor, happened_at)

    def answered(self, session_id: str) -> None:
        """An attempt is over: that is told, also where the answer is that of the attempt before."""
        self._answered.add(session_id)

    def receive(self, session_id: str, notice: Notice, callback_id: str) -> None:
        """A callback of a session; of several the one that says most is named as the cause."""
        cause = self._causes.setdefault(session_id, _Cause(TELNYX, notice.received_at))
        last = self._before[session_id].last_callback_at
        cause.is_late |= last is not None and notice.received_at < last
        rank = (notice.kind.state.rank, notice.received_at)
        if cause.rank is None or rank > cause.rank:
            cause.rank, cause.callback_id = rank, callback_id
            cause.happened_at = notice.time or notice.received_at

    def touched(self) -> list[str]:
        return sorted(self._causes)

    def folded(self, session: LockedSession) -> None:
        self._after[session.id] = session
        self._changes[session.id] = self._facts(session)

    def merged(self, adopted_id: str, session_id: str, now: datetime) -> None:
        """A line on both: where it went, and what came."""
        self._merged.add(adopted_id)
        self._merges += [
            self._merge(adopted_id, {"merged_into": (None, session_id)}, now),
            self._merge(session_id, {"merged_from": (None, adopted_id)}, now),
        ]

    def changed(self) -> set[str]:
        return {session_id for session_id, facts in self._changes.items() if facts} | self._merged

    def write(self, batch: Batch, now: datetime) -> None:
        # Of one that is merged, too: without what it learned just before, its events would not add up.
        changes = [self._change(session_id) for session_id, facts in sorted(self._changes.items()) if facts]
        events.add(batch, [*changes, *self._merges], now)

    def _is_created(self, session_id: str) -> bool:
        before = self._before[session_id]
        return before.origin is Origin.ADOPTED and before.callbacks == 0

    def _facts(self, after: LockedSession) -> Facts:
        before, is_created = self._before[after.id], self._is_created(after.id)
        facts = rules.changes(None if is_created else before.progress, after.progress)
        if after.account_sid != before.account_sid and not is_created:
            facts["account_sid"] = (before.account_sid, after.account_sid)
        if after.attempts != before.attempts:
            facts["attempts"] = (before.attempts, after.attempts)
        if not facts and after.id in self._answered:
            facts["state"] = (before.progress.state, after.progress.state)
        return facts

    def _change(self, session_id: str) -> Change:
        cause, after, facts = self._causes[session_id], self._after[session_id], self._changes[session_id]
        return Change(
            session_id=session_id,
            kind=EventKind.CREATED if self._is_created(session_id) else EventKind.CHANGED,
            actor=cause.actor,
            facts=facts,
            state=after.progress.state,
            account_sid=after.account_sid,
            siprec_sid=after.progress.siprec_sid,
            happened_at=cause.happened_at,
            callback_id=cause.callback_id,
            correction=cause.is_late and any(before is not None for before, _ in facts.values()),
        )

    def _merge(self, session_id: str, facts: Facts, now: datetime) -> Change:
        session = self._after.get(session_id, self._before[session_id])
        return Change(
            session_id=session_id,
            kind=EventKind.MERGED,
            actor=TELNYX,
            facts=facts,
            state=session.progress.state,
            account_sid=session.account_sid,
            siprec_sid=session.progress.siprec_sid,
            happened_at=now,
        )
