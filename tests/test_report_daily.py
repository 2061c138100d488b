"""What report_daily_v1 counts is what a naive count in Python comes to, whatever happened."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from service.domain.callback import Callback
from service.domain.notice import ErrorKind
from service.domain.overdue import OverdueKind
from service.store.engine import Database
from tests.history import History

# In Berlin the clocks went from 2:00 to 3:00 at one o'clock UTC on the 29th.
FIRST = datetime(2026, 3, 28, 21, tzinfo=UTC)
EDGES = [
    datetime(2026, 3, 28, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 29, tzinfo=UTC),
    datetime(2026, 3, 29, 0, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 22, tzinfo=UTC),
    datetime(2026, 3, 30, tzinfo=UTC),
]
SECONDS_TO_START = [
    *(-0.5, 0, 0.999_999, 1, 1.000_001, 2, 2.000_001, 3, 3.000_001, 5, 5.000_001, 10, 10.000_001),
    *(20, 20.000_001, 60, 60.000_001, 7200),
]
DURATIONS = [0, 0.000_001, 1, 59.999_999, 3600, 86_400.5]
REFUSALS: Sequence[tuple[ErrorKind, dict[str, Any], str]] = [
    (ErrorKind.REJECTED, {"status": 422, "code": "10032"}, "refused_fields_invalid"),
    (ErrorKind.REJECTED, {"status": 422, "code": "10004"}, "refused_fields_invalid"),
    (ErrorKind.REJECTED, {"status": 422, "code": "90018"}, "refused_call_ended"),
    (ErrorKind.REJECTED, {"status": 422, "code": "90015"}, "refused_call_id_invalid"),
    (ErrorKind.REJECTED, {"status": 422, "code": "90034"}, "refused_call_not_answered"),
    (ErrorKind.REJECTED, {"status": 404, "detail": "Resource not found"}, "refused_call_unknown"),
    (ErrorKind.REJECTED, {"status": 404, "code": "10005"}, "refused_call_unknown"),
    (ErrorKind.REJECTED, {"status": 422, "code": "99999"}, "refused_rejected"),
    (ErrorKind.CREDENTIALS, {"status": 401, "code": "10009"}, "refused_credentials"),
    (ErrorKind.CREDENTIALS, {"status": 403}, "refused_not_authorized"),
    (ErrorKind.RATE_LIMITED, {"status": 429, "code": "10011"}, "refused_rate_limited"),
    (ErrorKind.UNREACHABLE, {"detail": "no such host"}, "refused_unreachable"),
    (ErrorKind.NO_ANSWER, {"detail": "the connection broke"}, "unanswered_no_answer"),
    (ErrorKind.NO_ANSWER, {"status": 502}, "unanswered_telnyx_error"),
]
FAILURES = {"no-answer": "failed_recorder_no_answer", "486 Busy Here": "failed_siprec_failed"}
STATES = ["pending", "unanswered", "refused", "accepted", "started", "stopped", "failed"]  # each outranks
COUNTED_BY = {
    "siprec-started": "started",
    "siprec-stopped": "stopped",
    "siprec-failed": "failed",
}


@dataclass
class Told:
    """One session, as it was made up."""

    origin: str
    account: str
    connector: str | None
    requested: datetime
    said: list[str] = field(default_factory=lambda: ["pending"])
    starts: list[datetime] = field(default_factory=list)  # those that can be believed
    ends: list[datetime] = field(default_factory=list)
    refused_as: str | None = None
    failed_as: str | None = None
    is_overdue: bool = False

    @property
    def state(self) -> str:
        return next(state for state in reversed(STATES) if state in self.said)


class Teller:
    """Makes up a history, writes it down in an order of its own, and knows what it was."""

    def __init__(self, history: History, dice: random.Random) -> None:
        self.history = history
        self.dice = dice
        self.told: list[Told] = []
        self.steps: list[Callable[[], None]] = []

    def tell(self, count: int) -> list[Told]:
        for number in range(count):
            self.dice.choice([self._asked, self._asked, self._asked, self._adopted])(number)
        self.dice.shuffle(self.steps)
        for step in self.steps:
            step()
        return self.told

    def _time(self) -> datetime:
        if self.dice.random() < 0.4:
            return self.dice.choice(EDGES)
        return FIRST + timedelta(microseconds=self.dice.randrange(3 * 86_400 * 10**6))

    def _account(self) -> str:
        return self.dice.choice(["account-1", "account-2"])

    def _asked(self, number: int) -> None:
        connector = self.dice.choice([None, "recorder-1", "recorder-2"])
        one = Told("api", self._account(), connector, self._time())
        call_sid, sid = f"call-{number}", f"sid-{number}"
        session_id = self.history.ask(one.requested, call_sid, one.account, connector_name=connector)
        self.told.append(one)
        answered = one.requested + timedelta(milliseconds=self.dice.randrange(1, 900))
        answer = self.dice.choice(["none", "refusal", "accepted", "accepted", "accepted"])
        if answer == "refusal":
            kind, error, one.refused_as = self.dice.choice(REFUSALS)
            one.said.append(one.refused_as.partition("_")[0])
            self.steps.append(lambda: self.history.refuse(answered, session_id, call_sid, kind, **error))
        if answer == "accepted":
            one.said.append("accepted")
            self.steps.append(lambda: self.history.accept(answered, session_id, call_sid, sid))
        # By its ids alone a callback finds it only once Telnyx's answer has told them: until then another
        # session is adopted, and merged into this one when the answer comes.
        named = None if answer == "accepted" and self.dice.random() < 0.5 else session_id
        if answer == "accepted" or self.dice.random() < 0.2:
            for came in self._callbacks(one, call_sid, sid, named):
                self._write_in_a_while(came)
        if self.dice.random() < 0.15:
            one.is_overdue = True
            kind_of = self.dice.choice([*OverdueKind])
            self.steps.append(lambda: self.history.overdue(answered, session_id, kind_of, "it was made up"))

    def _adopted(self, number: int) -> None:
        one = Told("adopted", self._account(), None, self._time())
        came = [*self._callbacks(one, f"call-{number}", f"sid-{number}", None)]
        if not came:
            return
        self.dice.shuffle(came)
        one.requested = came[0].delivery.received_at
        one.said.append("accepted")
        self.told.append(one)
        self.steps.append(lambda: self._write_one_by_one(came))

    def _write_one_by_one(self, came: Sequence[Callback]) -> None:
        for callback in came:
            self.history.write(callback)

    def _write_in_a_while(self, came: Callback) -> None:
        times = self.dice.choice([1, 1, 2])  # a repeat changes nothing
        self.steps += [lambda: self.history.write(came)] * times

    def _callbacks(self, one: Told, call_sid: str, sid: str, session_id: str | None) -> Iterator[Callback]:
        started = one.requested + timedelta(seconds=self.dice.choice(SECONDS_TO_START))
        ended = started + timedelta(seconds=self.dice.choice(DURATIONS))
        events = self.dice.choice(
            [
                [],
                [("siprec-started", started)],
                [("siprec-started", started), ("siprec-stopped", ended)],
                [("siprec-started", started), ("siprec-stopped", ended)],
                [("siprec-stopped", ended)],  # that it started was never told
                [("siprec-failed", ended)],
                [("siprec-started", started), ("siprec-failed", ended)],
                [("siprec-started", started), ("siprec-stopped", ended), ("siprec-failed", ended)],
                [("siprec-started", started), ("siprec-started", started + timedelta(seconds=1))],
            ]
        )
        for event, happened in events:
            fields = {}
            if event == "siprec-failed":
                words = self.dice.choice([*FAILURES])
                fields, one.failed_as = {"SiprecError": words}, FAILURES[words]
            late = timedelta(seconds=self.dice.choice([0, 0.04, 30, 3 * 86_400]))
            if self.dice.random() < 0.1:
                late = timedelta(days=8)  # it says what happened, and not when
            elif event == "siprec-started":
                one.starts.append(happened)
            else:
                one.ends.append(happened)
            one.said.append(COUNTED_BY[event])
            yield self.history.callback(
                call_sid, sid, event, happened, happened + late, one.account, session_id, **fields
            )


def naive(told: Sequence[Told]) -> dict[tuple[str, str | None, str], dict[str, Any]]:
    rows: dict[tuple[str, str | None, str], dict[str, Any]] = {}
    for one in told:
        key = one.account, one.connector, one.requested.strftime("%Y-%m-%d")
        row = rows.setdefault(key, {"seconds_recorded": timedelta(0)})
        names = ["asked" if one.origin == "api" else "adopted", one.state]
        names += ["overdue"] if one.is_overdue else []
        if one.state == "failed":
            names.append(str(one.failed_as))
        elif one.state in {"refused", "unanswered"}:
            names.append(str(one.refused_as))
        if one.origin == "api":
            names.append(start_of(one))
        for name in names:
            row[name] = row.get(name, 0) + 1
        if one.starts and one.ends:
            row["seconds_recorded"] += min(one.ends) - min(one.starts)
    return rows


def start_of(one: Told) -> str:
    if not one.starts:
        return "start_unknown" if one.state in {"started", "stopped"} else "start_never"
    taken = min(one.starts) - one.requested
    for bound in ("1", "2", "3", "5", "10", "20", "60"):
        if taken <= timedelta(seconds=int(bound)):
            return f"start_{bound}s"
    return "start_more"


def daily(database: Database, where: str = "") -> dict[tuple[str, str | None, str], dict[str, Any]]:
    """Only what is not 0."""
    with database.read() as db:
        if not database.is_sqlite:
            db.execute(text("SET LOCAL TIME ZONE 'Europe/Berlin'"))  # as an analyst's may be
        rows = [dict(row) for row in db.execute(text(f"SELECT * FROM report_daily_v1 {where}")).mappings()]
    found = {}
    for row in rows:
        day = row.pop("day")
        assert type(day) is (str if database.is_sqlite else date)
        key = row.pop("account_sid"), row.pop("connector_name"), str(day)
        assert key not in found
        assert all(type(value) is int for name, value in row.items() if name != "seconds_recorded")
        found[key] = {name: value for name, value in row.items() if value or name == "seconds_recorded"}
    return found


@pytest.mark.parametrize("seed", range(6))
def test_days_are_what_a_naive_count_comes_to(database: Database, seed: int) -> None:
    told = Teller(History(database), random.Random(seed)).tell(40)
    expected, found = naive(told), daily(database)
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        seconds = row.pop("seconds_recorded").total_seconds()
        assert found[key].pop("seconds_recorded") == pytest.approx(seconds, abs=1e-5), key
        assert found[key] == row, key


def test_histories_hold_all_that_can_be_counted(database: Database) -> None:
    """Else the test above would prove less than it says."""
    told = Teller(History(database), random.Random(1)).tell(400)
    counted = {name for row in naive(told).values() for name in row}
    with database.read() as db:
        columns = set(db.execute(text("SELECT * FROM report_daily_v1")).keys())
        merged = db.scalar(text("SELECT count(*) FROM session WHERE merged_into IS NOT NULL"))
        late = db.scalar(text("SELECT count(*) FROM event WHERE correction"))
    assert columns - counted == {"account_sid", "connector_name", "day"}
    assert merged
    assert late


def test_some_days_of_one_account_are_what_all_days_say_of_them(database: Database) -> None:
    Teller(History(database), random.Random(2)).tell(60)
    some = daily(database, "WHERE account_sid = 'account-1' AND day >= '2026-03-29' AND day < '2026-03-30'")
    expected = {
        key: row for key, row in daily(database).items() if (key[0], key[2]) == ("account-1", "2026-03-29")
    }
    assert some == expected
    assert some
