"""Calls that come and go on their own, and the app that asks to record each: what a demo has to show."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from threading import Lock

from .state import State

MOST = 3  # at once
BETWEEN_SECONDS = 9.0
SHORTEST_SECONDS, LONGEST_SECONDS = 45.0, 75.0
ASK_AGAIN_SECONDS = 2.0


@dataclass(frozen=True)
class LiveCall:
    """Times are monotonic seconds. `session_id`: None while it is to be asked for, empty if refused."""

    sid: str
    ends_at: float
    ask_at: float
    session_id: str | None = None


class Calls:
    """`ask` asks the ledger to record a call: the session's id; empty if refused; None to ask again."""

    def __init__(self, telnyx: State, ask: Callable[[str], str | None]) -> None:
        self._telnyx = telnyx
        self._ask = ask
        self._random = Random()  # noqa: S311
        self._lock = Lock()
        self._calls: dict[str, LiveCall] = {}
        self._count = 0
        self._next_at = 0.0

    def tick(self) -> None:
        """Begin, ask and hang up what is due. For one thread."""
        now = time.monotonic()
        for sid in self._due(now):
            self._telnyx.end_call(sid)
        for call in self._to_ask(now):
            session_id = self._ask(call.sid)
            with self._lock:
                if call.sid in self._calls:
                    asked = replace(self._calls[call.sid], session_id=session_id)
                    self._calls[call.sid] = replace(asked, ask_at=time.monotonic() + ASK_AGAIN_SECONDS)

    def live(self) -> list[LiveCall]:
        """Those in progress, the oldest first."""
        with self._lock:
            return list(self._calls.values())

    def begin_soon(self) -> None:
        """With the next tick, however many there are."""
        with self._lock:
            self._add(time.monotonic())

    def hang_up_soon(self, sids: set[str]) -> None:
        """With the next tick."""
        with self._lock:
            for sid in sids & self._calls.keys():
                self._calls[sid] = replace(self._calls[sid], ends_at=0.0)

    def _due(self, now: float) -> list[str]:
        with self._lock:
            over = [sid for sid, call in self._calls.items() if call.ends_at <= now]
            for sid in over:
                del self._calls[sid]
            return over

    def _to_ask(self, now: float) -> list[LiveCall]:
        with self._lock:
            if len(self._calls) < MOST and now >= self._next_at:
                self._add(now)
            return [one for one in self._calls.values() if one.session_id is None and one.ask_at <= now]

    def _add(self, now: float) -> None:
        self._count += 1
        self._next_at = now + BETWEEN_SECONDS
        lasts = self._random.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)
        sid = f"v3:live-{self._count:03}"
        self._calls[sid] = LiveCall(sid, ends_at=now + lasts, ask_at=now)
