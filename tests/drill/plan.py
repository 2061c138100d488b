"""What is sent: which callbacks, how often, in which order. The same seed makes the same plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from tests.drill.callback import FAILED, STARTED, STOPPED, Callback, Forgery, Session

CALLBACKS_PER_SESSION = 25
LOT = 20  # sessions whose callbacks come mixed with one another
LONGEST_CALL = timedelta(minutes=30)
UNKNOWN_EVENTS = ("siprec-paused", "siprec-resumed", "siprec-quality")
ENDINGS: tuple[tuple[str, ...], ...] = ((STOPPED,), (STOPPED,), (STOPPED,), (FAILED,), (STOPPED, FAILED), ())
FORMATS = ("%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f+00:00")

# Of so many sessions, callbacks come that name another SiprecSid, or two.
ONE_OTHER_SID, TWO_OTHER_SIDS = 0.2, 0.05

TELNYX_SECONDS = 2.0  # how long Telnyx waits for an answer
PATIENT_SECONDS = 8.0  # what is answered later than Telnyx waits is a promise all the same

# A clock that is off, on either side of what a Timestamp may be to set a time: 7 days old, 5 minutes ahead.
SKEWS_SECONDS = (0, 0, 120, 7200, 30 * 86_400, -7200, -30 * 86_400)


Story = tuple[Session, str, str | None]  # an event, and whether another SiprecSid tells of it


@dataclass(frozen=True)
class Delivery:
    """One time that a callback is sent, and sent again where the answer invites it."""

    callback: Callback
    patience_seconds: float
    skew_seconds: float = 0.0
    forgery: Forgery | None = None
    on_fresh_connection: bool = False


class Planner:
    """What it tells of happened up to LONGEST_CALL before `begun_at`; `numbers` go into the microseconds."""

    def __init__(self, random: Random, begun_at: datetime, numbers: Iterator[int]) -> None:
        self._random = random
        self._begun_at = begun_at
        self._numbers = numbers

    def methods(self, deliveries: int) -> list[str]:
        """Of the sessions that so many deliveries are about, by which method each shall be told of."""
        number = max(4, deliveries // CALLBACKS_PER_SESSION)
        return ["GET" if self._random.random() < 0.2 else "POST" for _ in range(number)]

    def deliveries(
        self,
        sessions: Sequence[Session],
        number: int,
        *,
        is_skewed: bool = False,
        has_other_sids: bool = True,
    ) -> list[Delivery]:
        """Of these sessions; about `number` of them, forgeries included.

        `has_other_sids`: only for sessions whose sid Telnyx has certainly answered.
        """
        planned: list[Delivery] = []
        for begin in range(0, len(sessions), LOT):
            lot = sessions[begin : begin + LOT]
            share = number * len(lot) // len(sessions)
            strange = [one for session in lot for one in self._other(session)] if has_other_sids else []
            planned += self._of_lot(lot, share, strange, is_skewed=is_skewed)
        return planned

    def callback(self, session: Session, event: str, skew_seconds: float = 0.0) -> Callback:
        return self._callback(session, event, skew_seconds, is_forged=False)

    def _of_lot(
        self, lot: Sequence[Session], number: int, strange: Sequence[Story], *, is_skewed: bool
    ) -> list[Delivery]:
        told = [*strange, *(one for session in lot for one in self._needed(session))]
        planned: list[Delivery] = []
        while len(planned) < number:
            skew = self._random.choice(SKEWS_SECONDS) if is_skewed else 0.0
            story = told.pop() if told else (self._random.choice(lot), self._event(), None)
            planned += self._repeated(story, skew)
        self._random.shuffle(planned)
        return planned

    def _needed(self, session: Session) -> list[Story]:
        """What tells the session's story once; whatever else comes may not spoil it."""
        return [(session, event, None) for event in (STARTED, *self._random.choice(ENDINGS))]

    def _other(self, session: Session) -> list[Story]:
        chance = self._random.random()
        number = 2 if chance < TWO_OTHER_SIDS else int(chance < ONE_OTHER_SID)
        events = (STARTED, STOPPED, FAILED)
        return [
            (session, self._random.choice(events), f"{session.siprec_sid}-{n}") for n in range(1, number + 1)
        ]

    def _event(self) -> str:
        return self._random.choice((STARTED, STARTED, *UNKNOWN_EVENTS))

    def _repeated(self, story: Story, skew_seconds: float) -> list[Delivery]:
        session, event, other_sid = story
        if self._random.random() < 0.03:
            forgery = self._random.choice(_possible(session))
            forged = self._callback(session, event, skew_seconds, is_forged=True)
            return [Delivery(forged, PATIENT_SECONDS, skew_seconds, forgery), *self._repeated(story, 0)]
        callback = self._callback(session, event, skew_seconds, other_sid, is_forged=False)
        copies = 1 if self._random.random() > 0.15 else self._random.randint(2, 4)
        return [self._delivery(callback, skew_seconds) for _ in range(copies)]

    def _delivery(self, callback: Callback, skew_seconds: float) -> Delivery:
        patience = TELNYX_SECONDS if self._random.random() < 0.3 else PATIENT_SECONDS
        fresh = self._random.random() < 0.2
        return Delivery(callback, patience, skew_seconds, on_fresh_connection=fresh)

    def _callback(
        self,
        session: Session,
        event: str,
        skew_seconds: float,
        other_sid: str | None = None,
        *,
        is_forged: bool,
    ) -> Callback:
        # The microseconds are a number of its own for each, by which it is found again.
        ago = timedelta(seconds=self._random.randint(1, int(LONGEST_CALL.total_seconds())) - skew_seconds)
        happened_at = (self._begun_at - ago).replace(microsecond=next(self._numbers), tzinfo=UTC)
        written = happened_at.strftime(self._random.choice(FORMATS))
        return Callback(session, event, happened_at, written, is_forged, other_sid)


def _possible(session: Session) -> list[Forgery]:
    """A GET's fields are not signed: only its URL vouches for them."""
    if session.method == "GET":
        return [Forgery.OTHER_KEY, Forgery.UNSIGNED, Forgery.OTHER_TOKEN]
    return list(Forgery)
