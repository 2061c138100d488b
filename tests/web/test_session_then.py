"""A session as of a moment is what was known of it then, whatever has come since."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, select, update

from service.domain.access import Scope
from service.domain.overdue import Call
from service.ledger.numbering import number
from service.sandbox import Answer
from service.store.columns import written_out
from service.store.tables import event, session
from service.web import sessions as views
from tests.ledger.arrivals import Arrivals, Said
from tests.ledger.desk import Desk
from tests.ledger.tower import Tower
from tests.web.indoors import Caller, Indoors

SECOND = timedelta(seconds=1)
ANSWERS = (
    Answer(),
    Answer.error(422),
    Answer.error(429, retry_after_seconds=30),  # it did nothing, so the same start asks again
    Answer("close"),
)
FACTS = (
    *("state", "siprec_sid", "callback_siprec_sid", "accepted_at", "started_at", "ended_at"),
    *("stop_requested_at", "stop_requested_by", "error", "attempts", "merged_into"),
)
EXPLAINED = {"refused", "unanswered", "failed"}

Shown = dict[str, Any]


@dataclass(frozen=True)
class Start:
    key: str
    answer: Answer


@dataclass(frozen=True)
class Stop:
    which: int


@dataclass(frozen=True)
class Told:
    """`sid` None: the one that Telnyx answered last, if it did; `which`: the session whose token it has."""

    event: str
    sid: str | None
    account_sid: str | None
    received: int
    which: int | None


Step = Start | Stop | Told
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(Start, st.sampled_from(["once", "twice"]), st.sampled_from(ANSWERS)),
    st.builds(Stop, st.integers(0, 1)),
    st.builds(
        Told,
        st.sampled_from(["siprec-started", "siprec-stopped", "siprec-failed", "siprec-paused"]),
        st.sampled_from([None, "sid-1", "sid-2"]),
        st.sampled_from(["account-1", "account-2", None]),
        st.integers(0, 5),
        st.sampled_from([None, 0, 0, 1]),
    ),
)


ADOPTED_AND_MERGED: list[Step] = [
    Told("siprec-started", "sid-1", "account-1", 3, None),
    Told("siprec-stopped", "sid-1", "account-2", 1, None),  # received first: it is that account's
    Start("once", ANSWERS[2]),
    Start("once", ANSWERS[0]),
    Stop(1),
    Told("siprec-started", "sid-1", "account-1", 4, 0),
]

UNANSWERED_AND_STARTED: list[Step] = [
    Start("once", ANSWERS[3]),
    Told("siprec-started", "sid-1", "account-1", 1, 0),
]


class History:
    """Of one call: what happened, and how its sessions were shown then."""

    def __init__(self, indoors: Indoors, arrivals: Arrivals, call_sid: str) -> None:
        self._indoors = indoors
        self._arrivals = arrivals
        self._call_sid = call_sid
        self.snapshots: list[tuple[int, str, Shown]] = []  # after a position

    def take(self, step: Step) -> None:
        ids = self.ids()
        match step:
            case Start():
                self._indoors.answers(step.answer)
                asked = self._indoors.start(self._call_sid, key=f"{self._call_sid}-{step.key}").json
                assert asked.get("session_id") or asked["id"]
            case Stop() if step.which < len(ids):
                self._indoors.client.post(f"/v1/sessions/{ids[step.which]}/stop")
            case Told():
                ours = self.ids(session.c.origin == "api")  # no other has a callback URL of its own
                token = ours[step.which] if step.which is not None and step.which < len(ours) else None
                said = Said(step.event, self._call_sid, step.sid or self._answered(), step.account_sid)
                self._arrivals.write([self._arrivals.read(said, step.received * SECOND, token)])
        number(self._indoors.context.database)
        position = max((position for position, _, _ in self.lines()), default=0)
        self.snapshots += [(position, one, by_events(self._indoors.session(one))) for one in self.ids()]

    def ids(self, *conditions: ColumnElement[bool]) -> list[str]:
        query = select(session.c.id).where(session.c.call_sid == self._call_sid, *conditions)
        with self._indoors.context.database.read() as db:
            return list(db.scalars(query.order_by(session.c.id)))

    def lines(self) -> list[tuple[int, datetime, str]]:
        """(position, numbered_at, session id), in the order of positions."""
        columns = (event.c.position, event.c.numbered_at, event.c.subject_id)
        query = select(*columns).where(event.c.subject_id.in_(self.ids())).order_by(event.c.position)
        with self._indoors.context.database.read() as db:
            return [(row.position, row.numbered_at, row.subject_id) for row in db.execute(query)]

    def _answered(self) -> str:
        known = [one.sid for one in self._indoors.sandbox.sessions if one.call_sid == self._call_sid]
        return known[-1] if known else "sid-1"


@pytest.fixture
def arrivals(indoors: Indoors, tmp_path: Path) -> Arrivals:
    database = indoors.context.database
    return Arrivals(database, Desk(database, tmp_path / "spool"))


def then(indoors: Indoors, session_id: str, as_of: object, client: Caller | None = None) -> Shown:
    path = f"/v1/sessions/{session_id}"
    answer = (client or indoors.client).get(path, query_string={"as_of": as_of})
    assert answer.status_code == 200, answer.text
    shown = dict(answer.json)
    assert shown["answer"] is None
    return shown


def by_events(shown: Mapping[str, Any]) -> Shown:
    """As far as events tell of it: what Telnyx answered they do not."""
    return {**shown, "answer": None}


def folded(timeline: Sequence[Mapping[str, Any]]) -> Shown:
    facts: Shown = {**dict.fromkeys(FACTS), "attempts": 1}
    for line in timeline:
        for fact, (_, after) in line["changes"].items():
            if fact in facts:
                facts[fact] = after
    if facts["state"] not in EXPLAINED:
        facts["error"] = None
    return facts


def test_it_is_the_timeline_cut_at_that_line_and_as_it_was_shown_then(
    indoors: Indoors, arrivals: Arrivals
) -> None:
    calls = itertools.count()

    @given(st.lists(STEPS, min_size=1, max_size=8))
    @example(ADOPTED_AND_MERGED)
    @example(UNANSWERED_AND_STARTED)
    @settings(max_examples=40, deadline=None, database=None)
    def check(steps: list[Step]) -> None:
        history = History(indoors, arrivals, f"v3:call-{next(calls)}")
        for step in steps:
            history.take(step)
        lines = history.lines()
        for session_id in history.ids():
            now = indoors.session(session_id)
            own = [position for position, _, subject in lines if subject == session_id]
            assert len(own) == len(now["timeline"])
            for count, position in enumerate(own, 1):
                shown, known = then(indoors, session_id, position), now["timeline"][:count]
                assert shown["timeline"] == known
                assert {name: shown[name] for name in FACTS} == folded(known)
                assert shown["updated_at"] == known[-1]["written_at"]
            assert then(indoors, session_id, own[-1]) == by_events(now)
            for moment in {moment for _, moment, _ in lines}:
                numbered = [position for position, at, _ in lines if at <= moment]
                if own[0] in numbered:
                    by_time = then(indoors, session_id, written_out(moment))
                    assert by_time == then(indoors, session_id, numbered[-1])
        for position, session_id, shown in history.snapshots:
            assert then(indoors, session_id, position) == shown

    check()


def test_who_was_not_known_then_is_not_found(indoors: Indoors) -> None:
    session_id = indoors.started()
    number(indoors.context.database)
    for as_of in ("0", "2020-01-01T00:00:00Z"):
        answer = indoors.client.get(f"/v1/sessions/{session_id}", query_string={"as_of": as_of})
        assert answer.status_code == 404
        assert answer.json["type"] == "urn:siprec-ledger:problem:unknown-session"
        assert answer.json["detail"] == "No session of this id was known then"
    assert then(indoors, session_id, 1)["state"] == "requested"
    assert then(indoors, session_id, "2120-01-01T02:00:00+02:00")["state"] == "accepted"
    assert then(indoors, session_id, 10**17) == by_events(indoors.session(session_id))


def test_what_has_no_position_yet_was_not_known(indoors: Indoors) -> None:
    session_id = indoors.started()
    number(indoors.context.database)
    with indoors.context.database.begin() as db:
        db.execute(update(event).where(event.c.position == 2).values(position=None, numbered_at=None))
    for as_of in (2, "2120-01-01T00:00:00Z"):
        assert then(indoors, session_id, as_of)["state"] == "requested"


@pytest.mark.parametrize("as_of", ["", "-1", "1.5", "1-0badc0de", "now", "2026-01-01", "12:00", "9" * 19])
def test_what_is_no_moment_is_refused(indoors: Indoors, as_of: str) -> None:
    session_id = indoors.started()
    for path in ("", "/timeline"):
        answer = indoors.client.get(f"/v1/sessions/{session_id}{path}", query_string={"as_of": as_of})
        assert answer.status_code == 422
        assert answer.json["errors"][0]["pointer"] == "/as_of"


def test_nobody_waits_for_what_is_past(indoors: Indoors) -> None:
    session_id = indoors.started()
    query = {"as_of": 1, "wait": "started"}
    answer = indoors.client.get(f"/v1/sessions/{session_id}", query_string=query)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["pointer"] == "/wait"


def test_a_key_sees_only_its_accounts_sessions_as_they_were(indoors: Indoors) -> None:
    session_id = indoors.started()
    number(indoors.context.database)
    mine = indoors.limited(Scope.READ, accounts=["account-1"])
    assert then(indoors, session_id, 1, mine) == then(indoors, session_id, 1)
    stranger = indoors.limited(Scope.READ, accounts=["account-2"])
    for as_of in (1, 2):
        answer = stranger.get(f"/v1/sessions/{session_id}", query_string={"as_of": as_of})
        assert answer.status_code == 404
        assert answer.json["detail"] == "No session has this id"


def test_a_long_timeline_goes_on_in_pages_that_end_there_too(
    indoors: Indoors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "LONGEST_TIMELINE", 2)
    session_id = indoors.started()
    indoors.tell("siprec-started")
    indoors.client.post(f"/v1/sessions/{session_id}/stop")
    indoors.tell("siprec-stopped")
    number(indoors.context.database)
    whole = indoors.client.get(f"/v1/sessions/{session_id}/timeline").json["timeline"]
    assert len(whole) == 5
    shown = then(indoors, session_id, 4)
    assert (shown["state"], shown["timeline"]) == ("started", whole[:2])
    assert shown["stop_requested_by"] == "app-1"
    path = f"/v1/sessions/{session_id}/timeline"
    query = {"cursor": shown["timeline_next_cursor"], "as_of": 4, "limit": 1}
    third = indoors.client.get(path, query_string=query).json
    assert third["timeline"] == whole[2:3]
    fourth = indoors.client.get(path, query_string={**query, "cursor": third["next_cursor"]}).json
    assert (fourth["timeline"], fourth["next_cursor"]) == (whole[3:4], None)
    for other in (None, 5):  # a page as of another moment is of another list
        answer = indoors.client.get(path, query_string={"cursor": third["next_cursor"], "as_of": other})
        assert answer.status_code == 422


def test_what_the_watch_had_found_then_is_shown_as_it_was(indoors: Indoors) -> None:
    tower = Tower(indoors.context.database, "account-1")
    session_id = indoors.started()
    (question,) = tower.look(20 * SECOND).questions
    tower.answer(question, Call("in-progress"))
    tower.follow()
    overdue = indoors.session(session_id)
    indoors.tell("siprec-started")
    tower.follow()
    closed = indoors.session(session_id)
    number(indoors.context.database)

    timeline = closed["timeline"]
    at = {line["kind"]: position for position, line in enumerate(timeline, 1)}
    before, found, after = (
        then(indoors, session_id, position) for position in (at["overdue"] - 1, at["overdue"], len(timeline))
    )
    assert (before["overdue"], before["call"]) == (None, None)
    assert (found["overdue"], found["call"]) == (overdue["overdue"], overdue["call"])
    assert found["overdue"]["kind"] == "not_started"
    assert found["call"]["status"] == "in-progress"
    assert found["state"] == "accepted"
    assert (after["overdue"], after["call"], after["state"]) == (None, overdue["call"], "started")
    assert found["updated_at"] == before["updated_at"]  # what is found out changes no session
