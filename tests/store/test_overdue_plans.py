"""A list of what is overdue is found by an index, however many sessions there are and few of them are."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import insert, text

from service.domain.access import Accounts
from service.domain.overdue import OverdueKind
from service.domain.state import State
from service.store import session_lists, tables
from service.store.engine import Database
from service.store.session_lists import Filter
from service.store.watch_tables import session_watch
from tests.store.plans import is_index_read_through, is_read_through, plan
from tests.store.test_accounts import FEW, MANY, NOON, _id, _session

COUNT = 12_000
AT_ONCE = 2_000
WATCHED_EVERY = 3
OVERDUE_EVERY = 60
LIMIT = 21
KINDS = [*OverdueKind]
ACCOUNTS: list[Accounts] = [None, FEW, MANY, frozenset({"nobody"})]
TABLES = ("session", "session_watch")


def _watched(number: int) -> dict[str, object]:
    is_overdue = number % OVERDUE_EVERY == 0
    at = NOON + timedelta(seconds=number)
    return {
        "session_id": _id(number),
        "requested_at": at,
        "overdue_kind": KINDS[number // OVERDUE_EVERY % len(KINDS)].value if is_overdue else None,
        "overdue_since": at if is_overdue else None,
        "overdue_why": "it did not come" if is_overdue else None,
        "call_status": "in-progress",
        "call_checked_at": at,
    }


@pytest.fixture
def filled(database: Database) -> Database:
    for start in range(0, COUNT, AT_ONCE):
        numbers = range(start, start + AT_ONCE)
        with database.begin() as db:
            db.execute(insert(tables.session), [_session(number) for number in numbers])
            found = [_watched(number) for number in numbers if number % WATCHED_EVERY == 0]
            db.execute(insert(session_watch), found)
    if not database.is_sqlite:
        with database.begin() as db:
            for table in TABLES:
                db.execute(text(f"ANALYZE {table}"))
    return database


def _plan(database: Database, wanted: Filter, accounts: Accounts, is_later_page: bool) -> str:
    before = (NOON + timedelta(seconds=COUNT // 2), _id(COUNT // 2)) if is_later_page else None
    with database.read() as db:
        return plan(db, lambda: session_lists.page(db, wanted, accounts, before, LIMIT))


def test_neither_all_sessions_nor_all_that_were_watched_are_looked_at(filled: Database) -> None:
    others: tuple[dict[str, Any], ...] = (
        {},
        {"states": frozenset({State.STOPPED})},
        {"connector_name": "recorder"},
    )
    for kind, other, accounts, later in product([True, *KINDS], others, ACCOUNTS, (False, True)):
        found = _plan(filled, Filter(overdue=kind, **other), accounts, later)
        what = f"{kind} {other} {accounts} {later}:\n{found}"
        # Where an account has few sessions, its own index is the shorter way.
        assert accounts is not None or "session_watch_newest" in found, what
        for table in TABLES:
            assert not is_read_through(found, table), what
            assert not is_index_read_through(found, table), what


def test_what_is_not_overdue_is_read_in_the_order_of_the_list(filled: Database) -> None:
    for accounts, later in product(ACCOUNTS, (False, True)):
        found = _plan(filled, Filter(overdue=False), accounts, later)
        for table in TABLES:
            assert not is_read_through(found, table), found


def test_lists_of_all_accounts_and_kinds_show_the_newest(filled: Database) -> None:
    """Or the plans above could be of lists that find nothing."""
    with filled.read() as db:
        for kind in (True, *KINDS):
            found = [one.id for one in session_lists.page(db, Filter(overdue=kind), None, None, LIMIT)]
            wanted = [
                _id(number)
                for number in range(COUNT - 1, -1, -1)
                if number % OVERDUE_EVERY == 0 and kind in (True, KINDS[number // OVERDUE_EVERY % len(KINDS)])
            ]
            assert found == wanted[:LIMIT]
