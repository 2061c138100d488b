"""Whether what the reporting views show is what was answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.drill.callback import FAILED, STARTED, STOPPED, Callback
from tests.drill.ledger import StoredCallback, StoredSession
from tests.drill.starts import Promises
from tests.drill.traffic import Log

STATES = {STARTED: "started", STOPPED: "stopped", FAILED: "failed"}
RANKS = ("accepted", "started", "stopped", "failed")
UNSETTLED = {"requested", "unanswered", "accepted"}  # after a 202 for which no callback came
# README: a Timestamp outside of these says what happened, but not when.
OLDEST, NEWEST = timedelta(days=-7), timedelta(minutes=5)

Key = tuple[str | None, datetime | None]


@dataclass
class Part:
    """What was sent and started under one fault."""

    log: Log = field(default_factory=Log)
    promises: Promises = field(default_factory=Promises)
    seconds_until_drained: float | None = None
    unsent: int = 0


@dataclass
class Verdict:
    sent: int = 0
    answered: int = 0
    stored: int = 0
    lost: int = 0
    twice: int = 0
    wrong: int = 0
    offences: list[str] = field(default_factory=list)

    def __iadd__(self, other: Verdict) -> Verdict:
        for name in ("sent", "answered", "stored", "lost", "twice", "wrong", "offences"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


class Judge:
    """Holds all that is stored of this drill. Callbacks are told apart by session and Timestamp."""

    def __init__(self, callbacks: Iterable[StoredCallback], sessions: Iterable[StoredSession]) -> None:
        self._callbacks: dict[Key, list[StoredCallback]] = defaultdict(list)
        self._of_session: dict[str | None, list[StoredCallback]] = defaultdict(list)
        for stored in callbacks:
            self._callbacks[stored.session_id, stored.happened_at].append(stored)
            self._of_session[stored.session_id].append(stored)
        self._sessions = {one.session_id: one for one in sessions}

    def of(self, part: Part) -> Verdict:
        verdict = Verdict()
        for callback in part.log.genuine:
            self._count(callback, verdict)
        for callback in part.log.forged:
            self._expose(callback, verdict)
        told = {callback.session.id: callback.session.siprec_sid for callback in part.log.genuine}
        for session_id, status in part.promises.answers.items():
            self._look_at(session_id, status, told.get(session_id), verdict)
        verdict.offences += part.log.cut_off
        return verdict

    def strangers(self, parts: Sequence[Part]) -> Verdict:
        """What is stored and nobody sent."""
        sent = {(one.session.id, one.happened_at) for part in parts for one in part.log.callbacks.values()}
        strange = [rows[0] for key, rows in self._callbacks.items() if key not in sent]
        said = [f"stored, and nobody sent it: {row}" for row in strange]
        adopted = [one for one in self._sessions.values() if one.origin == "adopted"]
        said += [f"a session that nobody started: {one}" for one in adopted]
        return Verdict(wrong=len(said), offences=said)

    def _count(self, callback: Callback, verdict: Verdict) -> None:
        rows = self._callbacks.get((callback.session.id, callback.happened_at), [])
        deliveries = sum(row.deliveries for row in rows)
        verdict.sent += callback.sent
        verdict.answered += callback.kept
        verdict.stored += deliveries
        if deliveries < callback.kept:
            verdict.lost += callback.kept - deliveries
            verdict.offences.append(
                f"answered 200 and lost, {deliveries} of {callback.kept} stored: {callback}"
            )
        if len(rows) > 1:
            verdict.twice += len(rows) - 1
            verdict.offences.append(f"stored {len(rows)} times: {callback}")
        elif deliveries > callback.sent:
            verdict.twice += deliveries - callback.sent
            verdict.offences.append(f"sent {callback.sent} times, counted {deliveries} times: {callback}")
        if any(row.event != callback.event for row in rows):
            verdict.wrong += 1
            verdict.offences.append(f"stored as another event, {rows[0].event}: {callback}")
        if refused := {status for status in callback.answers if status not in {None, 200, 503}}:
            verdict.offences.append(f"genuine, and answered {sorted(map(str, refused))}: {callback}")

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


def _differences(
    session: StoredSession, rows: Sequence[StoredCallback], status: int, siprec_sid: str | None
) -> list[str]:
    if not rows and status != 201:
        return [] if session.state in UNSETTLED else [f"state is {session.state}, of which nobody told"]
    expected = _fold(rows)
    if siprec_sid is not None:
        expected["siprec_sid"] = siprec_sid
    return [
        f"{name} is {getattr(session, name)}, not {value}"
        for name, value in expected.items()
        if getattr(session, name) != value
    ]


def _fold(rows: Sequence[StoredCallback]) -> dict[str, object]:
    """What these callbacks, in whatever order, make of a session that Telnyx accepted."""
    states = [STATES.get(row.event or "", "accepted") for row in rows]
    failures = [row for row in rows if row.event == FAILED]
    first = min(failures, key=lambda row: _time(row) or row.received_at, default=None)
    return {
        "state": max(states, key=RANKS.index, default="accepted"),
        "started_at": _earliest(rows, {STARTED}),
        "ended_at": _earliest(rows, {STOPPED, FAILED}),
        "error_detail": f"no-answer {first.happened_at:%f}" if first else None,
    }


def _earliest(rows: Iterable[StoredCallback], events: set[str]) -> datetime | None:
    return min((time for row in rows if row.event in events and (time := _time(row))), default=None)


def _time(row: StoredCallback) -> datetime | None:
    if row.happened_at is None:
        return None
    return row.happened_at if OLDEST <= row.happened_at - row.received_at <= NEWEST else None


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
