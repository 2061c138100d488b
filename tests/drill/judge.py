"""Whether what the reporting views show is what was answered."""

from __future__ import annotations

from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.drill.callback import Callback
from tests.drill.fold import fold
from tests.drill.ledger import StoredCallback, StoredSession
from tests.drill.starts import Promises
from tests.drill.traffic import Log

UNSETTLED = {"requested", "unanswered", "accepted"}  # after a 202 for which no callback came
CLOCK = timedelta(milliseconds=100)  # between two looks at the same clock

Key = tuple[str | None, datetime | None]


@dataclass
class Excuse:
    """Of an asynchronous standby: what only the old primary had, and was promised by `until` (Unix time)."""

    until: float
    happened_at: set[datetime | None] = field(default_factory=set)
    session_ids: set[str] = field(default_factory=set)

    def kept(self, callback: Callback) -> int:
        """How many of its answers must be shown all the same."""
        if callback.happened_at not in self.happened_at:
            return callback.kept
        return sum(at > self.until for at in callback.kept_at)

    def covers(self, session_id: str, promises: Promises) -> bool:
        """Whether it, or Telnyx's answer to its start, may be missing."""
        return session_id in self.session_ids and promises.at[session_id] <= self.until


@dataclass
class Part:
    """What was sent and started under one fault, and what else was found wrong with it."""

    log: Log = field(default_factory=Log)
    promises: Promises = field(default_factory=Promises)
    excuses: list[Excuse] = field(default_factory=list)
    offences: list[str] = field(default_factory=list)
    during: int = 0  # deliveries sent while it lasted
    seconds_until_shown: float | None = None
    unsent: int = 0

    def kept(self, callback: Callback) -> int:
        return min([callback.kept, *(excuse.kept(callback) for excuse in self.excuses)])

    def is_excused(self, session_id: str) -> bool:
        return any(excuse.covers(session_id, self.promises) for excuse in self.excuses)


@dataclass
class Verdict:
    sent: int = 0
    answered: int = 0
    stored: int = 0
    lost: int = 0
    not_shown: int = 0  # it is on the disk, where no report reads it
    twice: int = 0
    wrong: int = 0
    offences: list[str] = field(default_factory=list)

    def __iadd__(self, other: Verdict) -> Verdict:
        for name in ("sent", "answered", "stored", "lost", "not_shown", "twice", "wrong", "offences"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


class Judge:
    """Holds all that is stored of this drill. Callbacks are told apart by session and Timestamp.

    `left` is what the service has left on its disk by the end.
    """

    def __init__(
        self, callbacks: Iterable[StoredCallback], sessions: Iterable[StoredSession], left: bytes = b""
    ) -> None:
        self._callbacks: dict[Key, list[StoredCallback]] = defaultdict(list)
        self._of_session: dict[str | None, list[StoredCallback]] = defaultdict(list)
        for stored in callbacks:
            self._callbacks[stored.session_id, stored.happened_at].append(stored)
            self._of_session[stored.session_id].append(stored)
        self._sessions = {one.session_id: one for one in sessions}
        self._left = left

    def of(self, part: Part) -> Verdict:
        verdict = Verdict()
        for callback in part.log.genuine:
            self._count(callback, part, verdict)
        for callback in part.log.forged:
            self._expose(callback, verdict)
        told = {callback.session.id: callback.session.siprec_sid for callback in part.log.genuine}
        for session_id, status in part.promises.answers.items():
            if not part.is_excused(session_id):
                self._look_at(session_id, status, told.get(session_id), verdict)
        verdict.offences += part.log.cut_off + part.offences
        return verdict

    def strangers(self, parts: Sequence[Part]) -> Verdict:
        """What is stored and nobody sent."""
        sent = {(one.session.id, one.happened_at) for part in parts for one in part.log.callbacks.values()}
        strange = [rows[0] for key, rows in self._callbacks.items() if key not in sent]
        said = [f"stored, and nobody sent it: {row}" for row in strange]
        adopted = [one for one in self._sessions.values() if one.origin == "adopted"]
        said += [f"a session that nobody started: {one}" for one in adopted]
        return Verdict(wrong=len(said), offences=said)

    def _count(self, callback: Callback, part: Part, verdict: Verdict) -> None:
        rows = self._callbacks.get((callback.session.id, callback.happened_at), [])
        deliveries, kept = sum(row.deliveries for row in rows), part.kept(callback)
        verdict.sent += callback.sent
        verdict.answered += callback.kept
        verdict.stored += deliveries
        if deliveries < kept:
            self._miss(callback, kept, deliveries, verdict)
        if len(rows) > 1:
            verdict.twice += len(rows) - 1
            verdict.offences.append(f"stored {len(rows)} times: {callback}")
        elif deliveries > callback.sent:
            verdict.twice += deliveries - callback.sent
            verdict.offences.append(f"sent {callback.sent} times, counted {deliveries} times: {callback}")
        if wrong := [said for row in rows if (said := _difference(callback, row))]:
            verdict.wrong += 1
            verdict.offences.append(f"{wrong[0]}: {callback}")
        if refused := {status for status in callback.answers if status not in {None, 200, 503}}:
            verdict.offences.append(f"genuine, and answered {sorted(map(str, refused))}: {callback}")

    def _miss(self, callback: Callback, kept: int, deliveries: int, verdict: Verdict) -> None:
        what = f"{deliveries} of {kept} shown: {callback}"
        if callback.form in self._left or b64encode(callback.form).rstrip(b"=")[:-1] in self._left:
            verdict.not_shown += kept - deliveries
            verdict.offences.append(f"answered 200 and left on the disk, {what}")
        else:
            verdict.lost += kept - deliveries
            verdict.offences.append(f"answered 200 and lost, {what}")

    def _expose(self, callback: Callback, verdict: Verdict) -> None:
        if callback.kept or (callback.session.id, callback.happened_at) in self._callbacks:
            verdict.wrong += 1
            verdict.offences.append(f"a forgery, and taken: {callback}")

    def _look_at(self, session_id: str, status: int, siprec_sid: str | None, verdict: Verdict) -> None:
        session = self._sessions.get(session_id)
        if session is None:
            verdict.lost += 1
            verdict.offences.append(f"the start was answered {status}, and the session is lost: {session_id}")
            return
        wrong = _differences(session, self._of_session.get(session_id, []), status, siprec_sid)
        if wrong:
            verdict.wrong += 1
            verdict.offences.append(f"session {session_id}: {'; '.join(wrong)}")


def left_in(folder: Path) -> bytes:
    """All that the service has left there."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def _difference(callback: Callback, row: StoredCallback) -> str | None:
    if row.event != callback.event:
        return f"stored as another event, {row.event}"
    if callback.kept_at and row.received_at > datetime.fromtimestamp(min(callback.kept_at), UTC) + CLOCK:
        return f"shown as received at {row.received_at}, after it was answered"
    return None


def _differences(
    session: StoredSession, rows: Sequence[StoredCallback], status: int, siprec_sid: str | None
) -> list[str]:
    if not rows and status != 201:
        return [] if session.state in UNSETTLED else [f"state is {session.state}, of which nobody told"]
    expected = fold(rows, siprec_sid)
    return [
        f"{name} is {getattr(session, name)}, not {value}"
        for name, value in expected.items()
        if getattr(session, name) != value
    ]


def slowest(callbacks: Iterable[Callback]) -> float:
    return max((one.slowest_seconds for one in callbacks), default=0.0)


def answers(parts: Iterable[Part]) -> Mapping[str, int]:
    """How often which status was answered, forgeries included."""
    counted: dict[str, int] = defaultdict(int)
    for part in parts:
        for callback in part.log.callbacks.values():
            for status in callback.answers:
                counted["no answer" if status is None else str(status)] += 1
    return dict(sorted(counted.items()))
