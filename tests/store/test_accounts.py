"""A key that is limited to some accounts finds what it may see by an index, however much others have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text

from service.domain.state import State
from service.store import callback_lists, session_lists, tables
from service.store.engine import Database
from service.store.session_lists import Filter
from tests.store.plans import is_read_through, plan

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNT = 15_000
CALLBACKS = 4_000  # of the first sessions
AT_ONCE = 1_000
FEW = frozenset({"few-1", "few-2"})  # 20 sessions each, and the oldest ones
MANY = frozenset({"many-0", "few-1"})


@pytest.fixture
def filled(database: Database) -> Database:
    for start in range(0, COUNT, AT_ONCE):
        numbers = range(start, start + AT_ONCE)
        with database.begin() as db:
            db.execute(insert(tables.session), [_session(number) for number in numbers])
            if start < CALLBACKS:
                db.execute(insert(tables.callback), [_callback(number) for number in numbers])
    with database.begin() as db:
        if db.dialect.name == "postgresql":
            db.execute(text("ANALYZE session"))
            db.execute(text("ANALYZE callback"))
    return database


def _id(number: int) -> str:
    return f"018f0000-0000-7000-8000-{number:012x}"


def _session(number: int) -> dict[str, Any]:
    at = NOON + timedelta(seconds=number)
    return {
        "id": _id(number),
        "origin": "api",
        "account_sid": f"few-{number % 2 + 1}" if number < 40 else f"many-{number % 3}",
        "call_sid": f"call {number}",
        "connector_name": "recorder",
        "reference": f"claim {number // 4}",
        "status_callback_method": "POST",
        "labels": {},
        "requested_at": at,
        "attempts": 1,
        "state": "stopped",
        "callbacks": 1,
        "updated_at": at,
    }


def _callback(number: int) -> dict[str, Any]:
    at = NOON + timedelta(seconds=number)
    return {
        "id": _id(number),
        "session_id": _id(number) if number % 10 else None,
        "digest": number.to_bytes(4, "big"),
        **dict.fromkeys(("received_at", "last_received_at", "written_at"), at),
        "deliveries": 1,
        "method": "POST",
        "query": b"",
        "body": b"x" * 200,
        "headers": {},
        "verified_by": "ed25519:0",
        "answered": 200,
        "time_is_plausible": True,
        "account_sid": "few-1" if number < 40 else "many-0",
        "problem": None if number % 100 else "odd",
    }


def test_a_list_of_sessions_is_read_in_the_order_of_each_account(filled: Database) -> None:
    with filled.read() as db:
        for accounts in (frozenset({"few-1"}), FEW, MANY):
            for wanted in (Filter(), Filter(requested_after=NOON)):
                found = plan(db, lambda: session_lists.page(db, wanted, accounts, None, 21))  # noqa: B023
                # Of an account with few sessions, all may be read, by any of its indexes, and sorted.
                fit = {"session_account_sid"} if accounts is MANY else {"session_account_sid", "session_day"}
                assert any(index in found for index in fit), found
                assert not is_read_through(found, "session"), found


def test_of_several_states_each_is_read_in_its_order(filled: Database) -> None:
    usual_and_rare = Filter(states=frozenset({State.STOPPED, State.FAILED}))
    rare = Filter(states=frozenset({State.REQUESTED, State.FAILED}))
    with filled.read() as db:
        for wanted, indexes in (
            (usual_and_rare, {"session_newest", "session_state"}),
            (rare, {"session_state"}),
        ):
            found = plan(db, lambda: session_lists.page(db, wanted, None, None, 21))  # noqa: B023
            assert all(index in found for index in indexes), found
            assert not is_read_through(found, "session"), found


def test_what_is_rarer_than_an_account_is_looked_for_by_its_own_index(filled: Database) -> None:
    rare = {
        "session_call_sid": Filter(call_sid="call 3000"),
        "session_reference": Filter(reference="claim 3"),
    }
    with filled.read() as db:
        for accounts in (frozenset({"many-0"}), MANY):
            for index, wanted in rare.items():
                found = plan(db, lambda: session_lists.page(db, wanted, accounts, None, 21))  # noqa: B023
                assert index in found, found


def test_a_list_of_callbacks_looks_at_so_many_and_at_each_one_s_session(
    filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_lists, "MOST_SCANNED", 500)
    with filled.read() as db:
        for accounts in (FEW, MANY):
            for problem in (None, True, False):
                found = plan(db, lambda: callback_lists.page(db, problem, accounts, None, 50))  # noqa: B023
                assert not is_read_through(found, "callback"), found
                assert not is_read_through(found, "session"), found
                assert "TEMP B-TREE" not in found, found


def test_callbacks_of_few_are_all_found_page_by_page(
    filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_lists, "MOST_SCANNED", 1000)
    before, seen, pages = None, [], 0
    with filled.read() as db:
        while True:
            page, before = callback_lists.page(db, None, frozenset({"few-1"}), before, 7)
            seen += [one.callback.delivery.id for one in page]
            pages += 1
            if before is None:
                break
    # Of its sessions every second, and of no session every tenth, as it says.
    assert seen == [_id(number) for number in reversed(range(40)) if number % 2 == 0]
    assert pages < 12
