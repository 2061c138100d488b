"""Makes as many sessions as a ledger has after years, each with what belongs to it; seeded, so ever the same.

Rows are made as plain values and in bulk: a million sessions through the service itself would take an hour.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from random import Random
from typing import Any

from service.store.events import SESSION, TELNYX, EventKind
from service.store.json import canonical_json
from service.store.tables import callback, event, session, session_attempt, session_label
from tests.bench import bulk
from tests.bench.bulk import Rows

SEED = 9
SPAN = timedelta(days=90)  # however many they are
# They end a little before now, for pages show the last day; whoever runs for an hour has ended then.
OLDEST = datetime.now(UTC).replace(microsecond=0) - SPAN - timedelta(hours=2)
CHUNK = 20_000  # sessions

ACCOUNTS, CONNECTORS, TEAMS, SITES = 5, 10, 8, 50
RARE, RARELY = "rare", 5  # so many sessions have the rare values, however many there are
# Of a thousand sessions so many end like this; the rest stopped. None is `requested`.
OUTCOMES = {"failed": 30, "refused": 20, "unanswered": 10, "started": 5}
CALLBACKS_EACH = 2.5  # on average,
TWICE_STARTED = 0.604  # because so many of those that stopped have a third one
PROBLEM = 0.01  # of callbacks

HEADERS = json.dumps(
    {
        "content-type": "application/x-www-form-urlencoded",
        "telnyx-signature-ed25519": f"{'x' * 86}==",
        "telnyx-timestamp": "1767225600",
        "user-agent": "telnyx-webhooks",
    }
)
STATES = {"siprec-started": "started", "siprec-stopped": "stopped", "siprec-failed": "failed"}
ERRORS: Mapping[str, tuple[str, int | None, str | None, str]] = {
    "refused": ("rejected", 422, "10015", "Invalid value for ConnectorName"),
    "unanswered": ("no_answer", None, None, "no answer within 10 s"),
}

TABLES = {
    session: (
        *("id", "origin", "account_sid", "call_sid", "connector_name", "status_callback_method"),
        *("reference", "labels", "requested_at", "attempts"),
        *("answer", "answered_at", "answer_siprec_sid"),
        *("answer_error_kind", "answer_status", "answer_code", "answer_detail"),
        *("state", "accepted_at", "started_at", "ended_at", "failure_detail"),
        *("callbacks", "last_callback_at", "updated_at"),
    ),
    session_attempt: (
        *("session_id", "number", "actor", "asked_at", "answer", "answered_at", "siprec_sid"),
        *("error_kind", "status", "code", "detail"),
    ),
    session_label: ("session_id", "name", "value", "requested_at"),
    callback: (
        *("id", "session_id", "digest", "received_at", "last_received_at", "written_at", "deliveries"),
        *("method", "query", "body", "headers", "verified_by", "answered", "event", "happened_at"),
        *("time_is_plausible", "account_sid", "call_sid", "siprec_sid", "error", "problem"),
    ),
    event: (
        *("subject_kind", "subject_id", "kind", "actor", "callback_id", "correction", "changes"),
        *("state", "account_sid", "siprec_sid", "happened_at", "written_at"),
        *("digest", "position", "numbered_at"),
    ),
}


@dataclass(frozen=True)
class Made:
    """`count` sessions, numbered from 0 in the order in which they were asked for."""

    count: int

    def fill(self, db: bulk.Filling) -> None:
        """Into an empty ledger; a million take a few minutes."""
        with db.indexes_later(list(TABLES)):
            for chunk in self.chunks():
                for table, columns in TABLES.items():
                    db.add(table, columns, chunk[table])

    def chunks(self) -> Iterator[Mapping[Any, Rows]]:
        random, positions = Random(SEED), itertools.count(1)
        for first in range(0, self.count, CHUNK):
            rows: dict[Any, Rows] = {table: [] for table in TABLES}
            for number in range(first, min(self.count, first + CHUNK)):
                One(self, number, random, positions).write(rows)
            yield rows

    def requested(self, number: int) -> int:
        """Microseconds since OLDEST."""
        return number * (SPAN // timedelta(microseconds=1)) // self.count

    def session_id(self, number: int) -> str:
        return _id(self.requested(number), number)

    def is_rare(self, number: int) -> bool:
        every = max(1, self.count // RARELY)
        return number % every == every // 2

    @staticmethod
    def call_sid(number: int) -> str:
        return f"v3:made-{number:012d}"

    @staticmethod
    def reference(number: int) -> str:
        return f"claim-{number}"


class One:
    """One session as it is made: what was asked, what Telnyx answered, and its callbacks."""

    def __init__(self, made: Made, number: int, random: Random, positions: Iterator[int]) -> None:
        self._number = number
        self._random = random
        self._positions = positions
        self._requested = made.requested(number)
        self._is_rare = made.is_rare(number)
        self._state = "accepted" if self._is_rare else _outcome(random)
        self.id = _id(self._requested, number)
        self._call_sid = made.call_sid(number)
        self._account = RARE if self._is_rare else f"account-{random.randrange(ACCOUNTS)}"
        self._sid = None if self._state in ERRORS else f"5e55107e-0000-4000-9000-{number:012d}"
        self._answered = self._requested + random.randrange(5_000, 500_000)
        self._notices = self._callbacks()

    def write(self, rows: Mapping[Any, Rows]) -> None:
        rows[session].append(self._session())
        answer = "accepted" if self._sid else self._state
        error = ERRORS.get(self._state, (None, None, None, None))
        times = (_time(self._requested), answer, _time(self._answered))
        rows[session_attempt].append((self.id, 1, "made", *times, self._sid, *error))
        rows[session_label].extend((self.id, *label, times[0]) for label in self._labels.items())
        rows[callback].extend(self._callback(*notice) for notice in self._notices)
        rows[event].extend(self._events())

    @cached_property
    def _labels(self) -> dict[str, str]:
        number = self._number
        return {"team": RARE if self._is_rare else f"team-{number % TEAMS}", "site": f"site-{number % SITES}"}

    def _callbacks(self) -> list[tuple[int, str, int]]:
        """(which, what it says, microseconds since OLDEST)."""
        started = self._answered + self._random.randrange(10_000, 2_000_000)
        ended = started + self._random.randrange(1_000_000, 3_600_000_000)
        if self._state == "started":
            return [(0, "siprec-started", started)]
        if self._state not in {"stopped", "failed"}:
            return []
        found = [(0, "siprec-started", started), (1, f"siprec-{self._state}", ended)]
        if self._state == "stopped" and self._random.random() < TWICE_STARTED:
            found.append((2, "siprec-started", started + 1_000_000))
        return found

    def _session(self) -> tuple[Any, ...]:
        at = {which: _time(moment) for which, _, moment in self._notices}
        last = _time(self._notices[-1][2]) if self._notices else None
        connector = RARE if self._is_rare else f"connector-{self._random.randrange(CONNECTORS)}"
        answered = _time(self._answered)
        return (
            *(self.id, "api", self._account, self._call_sid, connector, "POST"),
            *(Made.reference(self._number), canonical_json(self._labels), _time(self._requested), 1),
            *("accepted" if self._sid else self._state, answered, self._sid),
            *ERRORS.get(self._state, (None, None, None, None)),
            *(self._state, answered if self._sid else None, at.get(0), at.get(1)),
            "no-answer" if self._state == "failed" else None,
            *(len(self._notices), last, last or answered),
        )

    def _callback(self, which: int, says: str, moment: int) -> tuple[Any, ...]:
        happened, received = _time(moment), _time(moment + 40_000)
        written = _time(moment + 42_000)
        error = "no-answer" if says == "siprec-failed" else None
        body = (
            f"AccountSid={self._account}&CallSid={self._call_sid}&SiprecSid={self._sid}"
            f"&SiprecEvent={says}&Timestamp={happened}".replace(":", "%3A")
        )
        problem = "Timestamp is no time" if self._random.random() < PROBLEM else None
        return (
            *(self._callback_id(which, moment), self.id, self._random.randbytes(32)),
            *(received, received, written, 1),
            *("POST", b"", body.encode(), HEADERS, "ed25519:9fe50ef06e18b24c", 200, says, happened),
            *(True, self._account, self._call_sid, self._sid, error, problem),
        )

    def _events(self) -> Iterator[tuple[Any, ...]]:
        state = "accepted" if self._sid else self._state
        yield self._event(EventKind.CREATED, "made", None, ("requested", "requested"), self._requested)
        yield self._event(EventKind.CHANGED, TELNYX, None, ("requested", state), self._answered)
        for which, says, moment in self._notices[:2]:  # the third changes nothing
            before, state = state, STATES[says]
            cause = self._callback_id(which, moment)
            yield self._event(EventKind.CHANGED, TELNYX, cause, (before, state), moment)

    def _event(
        self, kind: EventKind, actor: str, cause: str | None, states: tuple[str, str], moment: int
    ) -> tuple[Any, ...]:
        before, after = states
        written = _time(moment + 42_000)
        return (
            *(SESSION, self.id, kind.value, actor, cause, False, f'{{"state":["{before}","{after}"]}}'),
            *(after, self._account, self._sid, _time(moment), written),
            *(self._random.randbytes(32), next(self._positions), written),
        )

    def _callback_id(self, which: int, moment: int) -> str:
        return _id(moment + 40_000, self._number * 10 + which)


def _outcome(random: Random) -> str:
    lot = random.randrange(1000)
    for state, share in OUTCOMES.items():
        if lot < share:
            return state
        lot -= share
    return "stopped"


@lru_cache(maxsize=64)  # a session's own are written several times each
def _time(microseconds: int) -> str:
    """As SQLite has it, and PostgreSQL understands it."""
    moment = OLDEST + timedelta(microseconds=microseconds)
    return f"{moment.isoformat(timespec='microseconds')[:-6]}Z"


def _id(microseconds: int, number: int) -> str:
    """A UUIDv7 of that time."""
    digits = f"{_OLDEST_MILLISECONDS + microseconds // 1000:012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-{number:012d}"


_OLDEST_MILLISECONDS = int(OLDEST.timestamp()) * 1000
