"""A ledger full of whatever its tables can hold: for what only reads, and has to read it right."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from service.domain.ids import new_id
from service.store.engine import Database
from service.store.tables import callback, event, rejected_delivery, session, session_attempt, session_label
from service.store.watch_tables import session_watch

# The clocks of Berlin are put back in the night to 25 October 2026, and forward in that to 28 March 2027.
AUTUMN = datetime(2026, 10, 23, tzinfo=UTC)
SPRING = datetime(2027, 3, 26, tzinfo=UTC)
DAYS = 4
AT_ONCE = 500  # rows in a transaction
ACCOUNTS = ("account-1", "account-2", "account-3")
CONNECTORS = ("recorder", "=cmd()", None)
TEXTS = (
    "=1+1",
    "+49 30 1234",
    "-1",
    "@x",
    "\t=x",
    "\r",
    'a,"b"\nc',
    "ünïcode ✓ 録音",
    "a;=b",
    "plain",
    "x" * 300,
)
REFERENCES = ("plain", "-1")
STATES = ("requested", "unanswered", "refused", "accepted", "started", "stopped", "failed")
ERRORS = (
    ("rejected", 422, "90018", "Call has ended"),
    ("rejected", 404, None, "Resource not found"),
    ("rejected", 422, "77777", "nobody knows"),
    ("unreachable", None, None, "connection refused"),
    ("credentials", 401, "10009", "Authentication failed"),
)
NO_ANSWERS = (("no_answer", None, None, "no answer in time"), ("no_answer", 503, None, "Try later"))
FAILURES = ("no-answer", "busy", "=evil()")


class AnyHistory:
    """The same for the same seed, but for the ids."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._rows: dict[Any, list[dict[str, Any]]] = {}

    def write(self, database: Database, sessions: int) -> None:
        ids = [self._session() for _ in range(sessions)]
        for _ in range(sessions // 5):
            self._callback(None)
        self._merge(ids)
        for number in range(1, sessions + 1):
            self._event(number, self._dice.choice(ids))
        for _ in range(sessions // 4):
            self._rejected()
        for table, rows in self._rows.items():
            for first in range(0, len(rows), AT_ONCE):
                with database.begin() as db:
                    db.execute(insert(table), rows[first : first + AT_ONCE])

    def _add(self, table: Any, **values: Any) -> None:
        self._rows.setdefault(table, []).append(values)

    def _maybe(self, *values: Any) -> Any:
        return self._dice.choice([None, *values])

    def _moment(self) -> datetime:
        since = self._dice.choice([AUTUMN, SPRING])
        # Often on a whole hour: that is where days begin.
        seconds = self._dice.randrange(DAYS * 24) * 3600
        return since + timedelta(seconds=seconds, microseconds=self._dice.choice([0, 0, 1, -1, 123_456_789]))

    def _labels(self) -> dict[str, str]:
        names = self._dice.sample(["team", "tier.x", "7"], self._dice.randrange(4))
        return {name: self._dice.choice(REFERENCES) for name in names}

    def _session(self) -> str:
        id, at, state = new_id(), self._moment(), self._dice.choice(STATES)
        started = (
            None
            if state in ("requested", "refused")
            else self._maybe(at + timedelta(seconds=self._dice.choice([-1, 0.5, 1, 3, 61, 4000])))
        )
        kind, status, code, detail = self._dice.choice(ERRORS if state == "refused" else NO_ANSWERS)
        has_error = state in ("refused", "unanswered")
        labels = self._labels()
        self._add(
            session,
            id=id,
            origin=self._dice.choice(["api", "api", "adopted"]),
            account_sid=self._dice.choice(ACCOUNTS),
            call_sid=self._dice.choice(TEXTS),
            connector_name=self._dice.choice(CONNECTORS),
            name=self._maybe(*TEXTS),
            track=self._maybe("inbound_track"),
            secure=self._maybe(True, False),
            session_timeout_secs=self._maybe(0, 90),
            sip_transport=self._maybe("tls"),
            status_callback_method="POST",
            reference=self._maybe(*REFERENCES),
            labels=labels,
            requested_at=at,
            attempts=self._dice.randrange(3),
            answer_siprec_sid=self._maybe(new_id()),
            answer_error_kind=kind if has_error else None,
            answer_status=status if has_error else None,
            answer_code=code if has_error else None,
            answer_detail=detail if has_error else None,
            state=state,
            callback_siprec_sid=f"sid {id}",
            accepted_at=self._maybe(at + timedelta(milliseconds=7)),
            started_at=started,
            ended_at=started and self._maybe(started + timedelta(seconds=61.000001)),
            stop_requested_at=self._maybe(at),
            stop_requested_by=self._maybe("app", "=app"),
            failure_detail=self._dice.choice(FAILURES) if state == "failed" else None,
            callbacks=self._dice.randrange(4),
            last_callback_at=self._maybe(at),
            updated_at=at,
        )
        for name, value in labels.items():
            self._add(session_label, session_id=id, name=name, value=value, requested_at=at)
        for number in range(1, self._dice.randrange(3) + 1):
            self._attempt(id, number, at)
        for _ in range(self._dice.randrange(3)):
            self._callback(id)
        if self._dice.random() < 0.2:
            self._watch(id, at)
        return id

    def _attempt(self, id: str, number: int, at: datetime) -> None:
        answered = self._maybe(at + timedelta(seconds=1.5))
        self._add(
            session_attempt,
            session_id=id,
            number=number,
            actor=self._maybe("app", "@app"),
            asked_at=at,
            answer=answered and "refused",
            answered_at=answered,
            error_kind=answered and "rejected",
            status=answered and 422,
            code=answered and self._maybe("10032"),
            detail=answered and self._dice.choice(TEXTS),
        )

    def _watch(self, id: str, at: datetime) -> None:
        kind = self._maybe("not_started", "not_ended")
        self._add(
            session_watch,
            session_id=id,
            requested_at=at,
            overdue_kind=kind,
            overdue_since=kind and at,
            overdue_why=kind and "=nothing heard",
            presumed_ended_at=self._maybe(at),
            presumed_why="its call is over",
        )

    def _callback(self, session_id: str | None) -> None:
        at = self._moment()
        self._add(
            callback,
            id=new_id(),
            session_id=session_id,
            digest=self._dice.randbytes(32),
            received_at=at,
            last_received_at=at + timedelta(seconds=2),
            written_at=at + timedelta(milliseconds=3),
            deliveries=self._dice.randrange(1, 4),
            method=self._dice.choice(["GET", "POST"]),
            query=b"",
            body=b"",
            headers={},
            verified_by=self._dice.choice(["token", "ed25519:0123456789abcdef"]),
            answered=200,
            spooled_on=self._maybe("host-1"),
            event=self._maybe("siprec-started", "=odd"),
            happened_at=self._maybe(at - timedelta(seconds=0.25)),
            time_is_plausible=True,
            account_sid=self._maybe(*ACCOUNTS),
            call_sid=self._maybe(*TEXTS),
            siprec_sid=self._maybe("sid"),
            error=self._maybe(*TEXTS),
            problem=self._maybe("something"),
            contradiction=self._maybe("something else"),
        )

    def _merge(self, ids: Sequence[str]) -> None:
        """Some of them into the first."""
        for row in self._rows[session][1:]:
            if self._dice.random() < 0.1:
                row["merged_into"] = ids[0]
        for row in self._rows[session]:
            row.setdefault("merged_into", None)

    def _event(self, number: int, session_id: str) -> None:
        at = self._moment()
        facts = self._dice.sample(
            ["state", "started_at", "stop_requested_by", "attempts"], self._dice.randrange(3)
        )
        self._add(
            event,
            sequence=number,
            subject_kind=self._dice.choice(["session", "session", "session", "key"]),
            subject_id=session_id,
            kind="changed",
            actor=self._dice.choice(["telnyx", "=app"]),
            callback_id=self._maybe(new_id()),
            correction=self._dice.choice([True, False]),
            changes={fact: [self._maybe(*TEXTS), self._maybe(*TEXTS)] for fact in facts},
            state=None,
            account_sid=self._dice.choice(ACCOUNTS),
            happened_at=at,
            written_at=at,
            digest=self._dice.randbytes(32),
            position=number,
            numbered_at=AUTUMN + timedelta(days=400, seconds=number),
        )

    def _rejected(self) -> None:
        self._add(
            rejected_delivery,
            received_at=self._moment(),
            delivery_id=new_id(),
            answered=403,
            reason=self._dice.choice(TEXTS),
            method="POST",
            query=b"",
            body=b"x",
            headers={},
            size=1,
            account_sid=self._maybe(*ACCOUNTS),
            call_sid=self._maybe(*TEXTS),
        )
