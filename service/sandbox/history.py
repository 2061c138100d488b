"""Makes up a day that never was: what an app requested, what Telnyx answered and reported, hour by hour."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from .behaviour import FAILED, STARTED, STOPPED, Behaviour
from .sessions import Call, Session
from .state import State

ACCOUNT: Final = "demo-account"
LABELS: Final = {"demo": "history"}
STARTS: Final = 150
SEED: Final = 11

# All of it is over for longer than alerts count what failed, and younger than what pictures show.
YOUNGEST: Final = timedelta(minutes=16)
OLDEST: Final = timedelta(hours=23, minutes=40)
OVER_SINCE: Final = timedelta(minutes=12)
LONGEST_CALL: Final = timedelta(minutes=35)
# What is overdue for more than a day is no reason any more not to be well.
NO_CALLBACKS: Final = (timedelta(hours=24, minutes=20), timedelta(hours=25, minutes=5))

# SiprecError: the first is the one that is documented; it is free text.
ERRORS: Final = ("no-answer", "no-answer", "busy", "486 Busy Here", "TLS handshake failed", "media timeout")
REFUSALS: Final = (
    (422, "90018", "Call has already ended"),
    (404, None, "Resource not found"),
    (422, "90034", "Call has not been answered yet"),
    (429, "10011", "Too many requests"),
)
CONNECTORS: Final = ("recorder", "recorder", "recorder", "recorder-2")
TEAMS: Final = ("claims", "sales", "support")

Line = dict[str, Any]


@dataclass(frozen=True)
class PastCall:
    """A call that an app wanted recorded. `seconds` are how long Telnyx took to answer and to begin."""

    number: int
    at: datetime
    ends_at: datetime
    answer_seconds: float
    begin_seconds: float

    def is_one_of(self, every: int, place: int) -> bool:
        return self.number % every == place


class Day:
    """The day before `now` (UTC), signed by `telnyx`; seeded, so ever the same but for its times."""

    def __init__(self, telnyx: State, now: datetime) -> None:
        self._telnyx = telnyx
        self._now = now
        self._random = Random(SEED)  # noqa: S311 (nothing is kept secret by it)
        self._lines: list[Line] = []

    def lines(self) -> str:
        """As `siprec-ledger demo-history` reads them, in the order of their times."""
        for call in self._calls():
            self._write(call)
        for number, age in enumerate(NO_CALLBACKS):
            self._without_callbacks(number, self._now - age)
        self._lines.sort(key=lambda line: line["at"])
        return "".join(f"{json.dumps(line)}\n" for line in self._lines)

    def _calls(self) -> Iterator[PastCall]:
        for number in range(STARTS):
            at = self._now - self._age()
            longest = min(LONGEST_CALL, self._now - OVER_SINCE - at)
            spoken = longest * self._random.uniform(0.15, 1.0)
            yield PastCall(
                number,
                at,
                at + spoken,
                answer_seconds=self._random.uniform(0.08, 0.4),
                begin_seconds=self._random.lognormvariate(-0.4, 0.7),
            )

    def _age(self) -> timedelta:
        """More calls by day than by night."""
        while True:
            age = self._random.uniform(YOUNGEST / OLDEST, 1.0) * OLDEST
            at = self._now - age
            hour = at.hour + at.minute / 60
            if self._random.random() < 0.12 + 0.88 * max(0.0, math.sin(math.pi * (hour - 5) / 16)):
                return age

    def _write(self, call: PastCall) -> None:
        if call.is_one_of(41, 11):
            self._by_document(call)
        elif call.is_one_of(27, 7):
            self._refused(call, *REFUSALS[call.number // 27 % len(REFUSALS)])
        elif call.is_one_of(17, 5):
            self._failed(call, ERRORS[call.number // 17 % len(ERRORS)])
        else:
            self._recorded(call)

    def _by_document(self, call: PastCall) -> None:
        """A TeXML document began it: the ledger only hears of it, and adopts it."""
        session = Session(ACCOUNT, f"v3:history-document-{call.number}", sid=self._sid())
        self._tell(session, STARTED, call.at)
        self._tell(session, STOPPED, call.ends_at)

    def _refused(self, call: PastCall, status: int, code: str | None, detail: str) -> None:
        error = {"detail": detail} if code is None else {"code": code, "detail": detail}
        self._start(call, status, {"errors": [error]})

    def _failed(self, call: PastCall, error: str) -> None:
        session = self._accepted(call)
        at = _after(call.at, call.answer_seconds + call.begin_seconds + 4)
        self._tell(session, FAILED, at, Behaviour(fails=error))

    def _recorded(self, call: PastCall) -> None:
        session = self._unanswered(call) if call.is_one_of(67, 30) else self._accepted(call)
        began_at = _after(call.at, call.answer_seconds + call.begin_seconds)
        is_late = call.is_one_of(31, 9)
        self._tell(session, STARTED, began_at, late_seconds=12 if is_late else 0)
        if call.is_one_of(13, 3):
            self._tell(session, STARTED, began_at, late_seconds=20)  # Telnyx repeats itself
        if call.is_one_of(3, 1) and not call.is_one_of(67, 30):
            stop_at = _after(call.ends_at, -0.4)
            self._lines.append({"kind": "stop", "at": _text(stop_at), "call_sid": session.call_sid})
        self._tell(session, STOPPED, call.ends_at)

    def _without_callbacks(self, number: int, at: datetime) -> None:
        """Telnyx accepted it and told nothing; asked for the call, it says that it is over."""
        call = PastCall(STARTS + number, at, at + timedelta(minutes=9), 0.2, 0.5)
        session = self._accepted(call)
        self._telnyx.remember(Call(session.call_sid, began_at=at, ended_at=call.ends_at))

    def _accepted(self, call: PastCall) -> Session:
        session = Session(ACCOUNT, _call_sid(call.number), sid=self._sid())
        self._start(call, 200, {"sid": session.sid, "call_sid": session.call_sid})
        return session

    def _unanswered(self, call: PastCall) -> Session:
        """It began all the same."""
        self._start(call, 503, {"errors": [{"code": "10037", "detail": "Service unavailable"}]})
        return Session(ACCOUNT, _call_sid(call.number), sid=self._sid())

    def _start(self, call: PastCall, status: int, document: Line) -> None:
        order = {
            "account_sid": ACCOUNT,
            "call_sid": _call_sid(call.number),
            "connector_name": CONNECTORS[call.number % len(CONNECTORS)],
            "reference": f"claim-{4000 + call.number}",
            "labels": {**LABELS, "team": TEAMS[call.number % len(TEAMS)]},
        }
        answer = {
            "at": _text(_after(call.at, call.answer_seconds)),
            "status": status,
            "document": document,
        }
        self._lines.append({"kind": "start", "at": _text(call.at), "order": order, "answer": answer})

    def _tell(
        self,
        session: Session,
        event: str,
        at: datetime,
        behaviour: Behaviour | None = None,
        late_seconds: float = 0,
    ) -> None:
        body = self._telnyx.compose(session, event, at, behaviour)
        came_at = _after(at, late_seconds + self._random.uniform(0.03, 0.2))
        headers = {"content-type": "application/x-www-form-urlencoded", "user-agent": "telnyx-sandbox"}
        self._lines.append(
            {
                "kind": "callback",
                "at": _text(came_at),
                "call_sid": session.call_sid,
                "headers": headers | self._telnyx.sign(body, came_at),
                "body": body.decode(),
            }
        )

    def _sid(self) -> str:
        digits = f"{self._random.getrandbits(48):012x}"
        return f"5e551000-0000-4000-8000-{digits}"


def _call_sid(number: int) -> str:
    return f"v3:history-{number:03}"


def _after(at: datetime, seconds: float) -> datetime:
    return at + timedelta(seconds=seconds)


def _text(at: datetime) -> str:
    """One length, so that it sorts."""
    return at.isoformat(timespec="microseconds")
