"""No statement of a page reads a whole table, and what a page counts is bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from service.store import callback_deliveries, session_counts, session_search
from service.store.engine import Database
from service.store.session_lists import Filter
from tests.store.plans import is_read_through, plan
from tests.store.test_accounts import FEW, MANY, filled  # noqa: F401 (a fixture)

TABLES = ("session", "session_attempt", "callback", "callback_repeat", "session_label")
ID = "018f0000-0000-7000-8000-000000000001"

Ask = Callable[[Any], object]
STATEMENTS: dict[str, Ask] = {
    "a search by id": lambda db: session_search.by_id(db, ID, None),
    "a search by an id of nobody": lambda db: session_search.by_id(db, ID.replace("018f", "ffff"), FEW),
    "a search by text": lambda db: session_search.by_text(db, "call 77", None),
    "a search by a sid, of an account": lambda db: session_search.by_text(db, "sid 7", frozenset({"many-0"})),
    "a search by a label": lambda db: session_search.by_text(db, "team:fraud", FEW),
    "the raw bytes": lambda db: callback_deliveries.raw(db, ID, ID),
}


@pytest.fixture
def ready(filled: Database) -> Database:  # noqa: F811
    rows = [{"s": f"018f0000-0000-7000-8000-{n:012x}", "sid": f"sid {n}"} for n in range(5000)]
    insert = (
        "INSERT INTO session_attempt (session_id, number, asked_at, siprec_sid) VALUES (:s, 1, :at, :sid)"
    )
    with filled.begin() as db:
        db.execute(text(insert), [{**row, "at": "2026-03-01T12:00:00.000000Z"} for row in rows])
        if db.dialect.name == "postgresql":
            db.execute(text("ANALYZE session_attempt"))
    return filled


def test_no_statement_reads_a_whole_table(ready: Database, subtests: pytest.Subtests) -> None:
    with ready.read() as db:
        for name, ask in STATEMENTS.items():
            with subtests.test(name):
                found = plan(db, lambda: ask(db))  # noqa: B023
                read = [table for table in TABLES if is_read_through(found, table)]
                # Of an empty table PostgreSQL may read all.
                # SQLite has only one index at a time: that of the accounts would read through all of theirs.
                assert "SEARCH session USING INDEX session_account_sid" not in found, found
                assert [table for table in read if table not in {"callback_repeat", "session_label"}] == [], (
                    found
                )


def test_what_is_counted_is_read_in_the_order_of_an_index(ready: Database, subtests: pytest.Subtests) -> None:
    for wanted, accounts, indexes in (
        (Filter(), None, {"session_newest"}),
        (Filter(), FEW, {"session_account_sid", "session_day"}),  # all of an account may be read, and sorted
        (Filter(), MANY, {"session_account_sid", "session_day"}),
        (Filter(reference="claim 7"), None, {"session_reference"}),
    ):
        with subtests.test(str(wanted)), ready.read() as db:
            found = plan(db, lambda: session_counts.by_state(db, wanted, accounts))  # noqa: B023
            assert any(index in found for index in indexes), found
            assert not is_read_through(found, "session"), found
