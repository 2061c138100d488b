"""A page of the feed is read by indexes, whatever it is narrowed to: no statement looks at a whole table."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text

from service.domain.access import Access, Scope
from service.domain.state import State
from service.store import feed, tables
from service.store.engine import Database
from service.store.events import SESSION, TELNYX, EventKind
from service.store.feed import Wanted
from tests.store.plans import is_index_read_through, is_read_through, plan

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SESSIONS = 8_000
EVENTS = 2 * SESSIONS  # two of each
AT_ONCE = 1_000
LIMIT = 20
SURVIVOR, MERGED = 4000, 4001

ACCESSES = {
    "admin": Access(frozenset(Scope)),
    "unlimited": Access(),
    "two accounts": Access(accounts=frozenset({"account-1", "rare"})),
    "no account of the ledger's": Access(accounts=frozenset({"nobody"})),
}


def _id(number: int) -> str:
    return f"018f0000-0000-7000-8000-{number:012x}"


WANTED = {
    "everything": Wanted(),
    "usual type": Wanted(types=frozenset({(SESSION, "changed")})),
    "rare type": Wanted(types=frozenset({(SESSION, "merged")})),
    "no such type": Wanted(types=frozenset({("key", "created"), ("evidence", "read")})),
    "usual account": Wanted(account_sid="account-2"),
    "rare account": Wanted(account_sid="rare"),
    "no such account": Wanted(account_sid="nobody"),
    "usual connector": Wanted(connector_name="connector-2"),
    "rare connector": Wanted(connector_name="rare"),
    "no such connector": Wanted(connector_name="nobody"),
    "a session": Wanted(session_id=_id(7)),
    "a session that others were merged into": Wanted(session_id=_id(SURVIVOR)),
    "no such session": Wanted(session_id=_id(SESSIONS)),
    "all at once": Wanted(frozenset({(SESSION, "changed")}), "account-2", "connector-2", _id(7)),
}


@pytest.fixture
def filled(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(feed, "MOST_SCANNED", 100)  # of the whole as little as in a large ledger
    for start in range(0, SESSIONS, AT_ONCE):
        numbers = range(start, start + AT_ONCE)
        with database.begin() as db:
            db.execute(insert(tables.session), [_session(number) for number in numbers])
            db.execute(insert(tables.event), [_event(2 * n + m) for n in numbers for m in (0, 1)])
    with database.begin() as db:
        if db.dialect.name == "postgresql":
            db.execute(text("ANALYZE session"))
            db.execute(text("ANALYZE event"))
    return database


def _session(number: int) -> dict[str, Any]:
    at = NOON + timedelta(seconds=number)
    return {
        "id": _id(number),
        "origin": "api",
        "account_sid": _account(number),
        "call_sid": f"call {number}",
        "connector_name": f"connector-{number % 3}" if number % 2000 else "rare",
        "status_callback_method": "POST",
        "labels": {},
        "requested_at": at,
        "attempts": 1,
        "state": "stopped",
        "callbacks": 1,
        "updated_at": at,
    }


def _account(number: int) -> str:
    return f"account-{number % 3}" if number % 2000 else "rare"


def _event(number: int) -> dict[str, Any]:
    session, is_second = divmod(number, 2)
    kind, changes = EventKind.CREATED, {"state": [None, "requested"]}
    if is_second:
        kind, changes = EventKind.CHANGED, {"state": ["requested", "stopped"]}
        if session == SURVIVOR:
            kind, changes = EventKind.MERGED, {"merged_from": [None, _id(MERGED)]}
    at = NOON + timedelta(seconds=number)
    return {
        "subject_kind": SESSION,
        "subject_id": _id(session),
        "kind": kind,
        "actor": TELNYX,
        "correction": False,
        "changes": changes,
        "state": State.STOPPED,
        "account_sid": _account(session),
        "happened_at": at,
        "written_at": at,
        "digest": number.to_bytes(32, "big"),
        "position": number + 1,
        "numbered_at": at,
    }


def _read(db: Connection, after: feed.Place, wanted: Wanted, access: Access) -> None:
    """As the endpoint does."""
    place = feed.place(db, after)
    found = feed.places(db, wanted, access, place.position, LIMIT)
    feed.lines(db, [one.position for one in found.places])


def _check(found: str, what: str) -> None:
    for table in ("event", "session"):
        assert not is_read_through(found, table), f"{what}:\n{found}"
        assert not is_index_read_through(found, table), f"{what}:\n{found}"


def test_no_page_looks_at_a_whole_table(filled: Database) -> None:
    with filled.read() as db:
        for after in (0, EVENTS // 2, EVENTS - 10):
            place = feed.place(db, NOON + timedelta(seconds=after))
            assert place.position == after
            for (what, wanted), (whose, access) in itertools.product(WANTED.items(), ACCESSES.items()):
                _check(plan(db, lambda: _read(db, place, wanted, access)), f"{what}, {whose}")  # noqa: B023


def test_nor_does_it_to_find_where_the_feed_ends_or_was_at_a_time(filled: Database) -> None:
    with filled.read() as db:
        for moment in (None, NOON, NOON + timedelta(seconds=7), NOON + timedelta(days=1)):
            _check(plan(db, lambda: feed.place(db, moment)), str(moment))  # noqa: B023


def test_whole_tables_and_whole_indexes_are_noticed(filled: Database) -> None:
    """Or the test above could not fail."""
    with filled.read() as db:
        everything = plan(db, lambda: db.execute(text("SELECT count(DISTINCT actor) FROM event")))
        assert is_read_through(everything, "event"), everything
        unbounded = text("SELECT subject_id FROM event ORDER BY position LIMIT 100")
        by_index = plan(db, lambda: db.execute(unbounded))
        assert is_index_read_through(by_index, "event"), by_index
