"""What a key may not see of the feed does not exist for it: its pages show the rest, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete

from service.domain.access import Access
from service.domain.ids import new_id
from service.domain.session import Origin, Session
from service.domain.start import Order
from service.domain.state import State
from service.ledger.numbering import number
from service.store import events, feed, sessions, tables
from service.store.batch import Batch
from service.store.events import EventKind, EvidenceEventKind, KeyEventKind
from service.store.sessions import IdempotencyKey
from service.web.cloud_events import EventType
from tests.web.indoors import Caller, Indoors

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACCOUNTS = ["a", "b", "c"]
CONNECTORS = ["x", "y", None]
ADOPTED, OURS = (0, 1), (2, 3)  # the sessions by number; those are merged into these

Shown = dict[str, Any]


@dataclass(frozen=True)
class Learned:
    """Of a session something was learned, perhaps that it is of another account."""

    session: int
    account_sid: str


@dataclass(frozen=True)
class Merged:
    session: int
    into: int


@dataclass(frozen=True)
class Done:
    """By somebody, with a key, or with the evidence of a session."""

    session: int
    is_reading: bool


Step = Learned | Merged | Done
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.builds(Learned, st.sampled_from([*ADOPTED, *OURS]), st.sampled_from(ACCOUNTS)),
        st.builds(Learned, st.sampled_from([*ADOPTED, *OURS]), st.sampled_from(ACCOUNTS)),
        st.builds(Merged, st.sampled_from(ADOPTED), st.sampled_from(OURS)),
        st.builds(Done, st.sampled_from(OURS), st.booleans()),
    ),
    min_size=4,
    max_size=14,
)


class History:
    """What happens to four sessions. `accounts` has, event by event, whose it was then; None: nobody's."""

    def __init__(self, db: Connection, connectors: Sequence[str | None]) -> None:
        for table in (tables.event, tables.session_label, tables.session):
            db.execute(delete(table))
        self._db = db
        self._account_of = dict.fromkeys(range(len(connectors)), "a")
        self._merged: set[int] = set()
        self.accounts: list[str | None] = []
        self.ids = [new_id() for _ in connectors]
        for session, connector in enumerate(connectors):
            order = Order("a", f"call {session}", connector_name=connector)
            new = Session(self.ids[session], Origin.API, order, NOON, NOON)
            assert sessions.insert(db, new, IdempotencyKey(None))  # type: ignore[arg-type]
            self._write(session, EventKind.CREATED, {"state": (None, State.REQUESTED)})

    def take(self, step: Step) -> None:
        match step:
            case Learned(session, account_sid) if session not in self._merged:
                before, self._account_of[session] = self._account_of[session], account_sid
                self._write(session, EventKind.CHANGED, {"account_sid": (before, account_sid)})
            case Merged(session, into) if session not in self._merged:
                self._merged.add(session)
                self._write(session, EventKind.MERGED, {"merged_into": (None, self.ids[into])})
                self._write(into, EventKind.MERGED, {"merged_from": (None, self.ids[session])})
            case Done(session, is_reading):
                kind = EvidenceEventKind.READ if is_reading else KeyEventKind.CHANGED
                subject = events.EVIDENCE if is_reading else events.KEY
                done = events.Action(subject, self.ids[session], kind, "somebody", {})
                events.add_action(self._db, done, NOON)
                self.accounts.append(None)

    def _write(self, session: int, kind: EventKind, facts: dict[str, tuple[object, object]]) -> None:
        account_sid, batch = self._account_of[session], Batch(self._db)
        change = events.Change(
            self.ids[session], kind, "an app", facts, State.REQUESTED, account_sid, None, NOON
        )
        events.add(batch, [change], NOON)
        batch.write()
        self.accounts.append(account_sid)


@dataclass(frozen=True)
class Asked:
    """What a reader narrows the feed to; `session` is a number."""

    types: list[str]
    account_sid: str | None
    connector_name: str | None
    session: int | None

    def query(self, ids: Sequence[str]) -> dict[str, Any]:
        named = {
            "type": self.types or None,
            "account_sid": self.account_sid,
            "connector_name": self.connector_name,
            "session_id": None if self.session is None else ids[self.session],
        }
        return {name: value for name, value in named.items() if value is not None}


ASKED = st.builds(
    Asked,
    st.lists(st.sampled_from([*map(str, EventType)]), max_size=3, unique=True),
    st.sampled_from([None, None, None, *ACCOUNTS]),
    st.sampled_from([None, None, *CONNECTORS]),
    st.sampled_from([None, None, *ADOPTED, *OURS]),
)
LIMITS = st.lists(st.integers(1, 5), min_size=1, max_size=3)  # of one page after the other, over and over


@dataclass(frozen=True)
class Reader:
    """A key with the accounts that it is limited to, if it is."""

    client: Caller
    accounts: Collection[str] | None
    is_admin: bool = True

    def sees(self, one: Shown) -> bool:
        session = one["data"]["session"]
        if self.accounts is not None:
            return session is not None and session["account_sid"] in self.accounts
        return self.is_admin or session is not None

    def walk(self, query: dict[str, Any], limits: Sequence[int], after: str) -> tuple[list[Shown], list[str]]:
        """The events of all pages, and the cursors that were given with them."""
        found: list[Shown] = []
        cursors = [after]
        for limit in itertools.islice(itertools.cycle(limits), 100):
            asked = {**query, "limit": limit, "after": cursors[-1]}
            answer = self.client.get("/v1/events", query_string=asked)
            assert answer.status_code == 200, answer.text
            assert len(answer.json["events"]) <= limit
            found += answer.json["events"]
            if answer.json["next"] == cursors[-1]:
                return found, cursors
            cursors.append(answer.json["next"])
        raise AssertionError("the pages do not end")


def fits(one: Shown, query: dict[str, Any], everything: Sequence[Shown]) -> bool:
    session = one["data"]["session"] or {}
    if "type" in query and one["type"] not in query["type"]:
        return False
    if any(session.get(name) != query[name] for name in ("account_sid", "connector_name") if name in query):
        return False
    if "session_id" in query:
        merged = {line["subject"] for line in everything if _is_merged_into(line, query["session_id"])}
        return bool(session) and one["subject"] in {query["session_id"], *merged}
    return True


def _is_merged_into(line: Shown, session_id: str) -> bool:
    return bool(line["data"]["changes"].get("merged_into") == [None, session_id])


@pytest.fixture
def readers(indoors: Indoors) -> list[Reader]:
    """The first sees everything."""
    choices = [["a"], ["b"], ["z"], ["a", "b"], ["c", "z"], ["a", "b", "c"]]
    limited = [Reader(indoors.limited(accounts=one), one) for one in choices]
    no_admin = Reader(indoors.bearing(indoors.new_key("no admin", Access())), None, is_admin=False)
    return [Reader(indoors.limited(), None), no_admin, *limited]


def test_pages_show_what_an_unlimited_key_sees_of_what_was_its_accounts_then(
    indoors: Indoors, readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filtered in Python; and no cursor of another key shows more."""
    database, unlimited = indoors.context.database, readers[0]

    @given(
        steps=STEPS,
        connectors=st.tuples(*[st.sampled_from(CONNECTORS)] * 4),
        reader=st.sampled_from(readers[1:]),
        asked=ASKED,
        before=ASKED,
        limits=LIMITS,
        scanned=st.sampled_from([1, 2, 3, 5000]),
        place=st.integers(0, 20),
    )
    @settings(max_examples=20, deadline=None, database=None)
    def check(
        steps: list[Step],
        connectors: tuple[str | None, ...],
        reader: Reader,
        asked: Asked,
        before: Asked,
        limits: list[int],
        scanned: int,
        place: int,
    ) -> None:
        monkeypatch.setattr(feed, "MOST_SCANNED", scanned)
        with database.begin() as db:
            history = History(db, connectors)
            for step in steps:
                history.take(step)
        number(database)
        everything, places = unlimited.walk({}, [1000], "start")
        assert [(one["data"]["session"] or {}).get("account_sid") for one in everything] == history.accounts
        after = {"start": 0} | {one["id"]: count for count, one in enumerate(everything, 1)}
        assert places[-1] == everything[-1]["id"]
        queries = [asked.query(history.ids), *({"session_id": id} for id in history.ids)]
        for one, other in ((reader, unlimited), (unlimited, reader)):
            _, cursors = other.walk(before.query(history.ids), limits, "start")
            cursor = cursors[place % len(cursors)]
            rest = {line["id"] for line in everything[after[cursor] :]}
            for query in queries:
                expected = [line for line in everything if one.sees(line) and fits(line, query, everything)]
                found, _ = one.walk(query, limits, "start")
                assert found == expected
                found, _ = one.walk(query, limits, cursor)  # that was given to the other one
                assert found == [line for line in expected if line["id"] in rest]

    check()
