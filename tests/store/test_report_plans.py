"""Reports are read by indexes where they are narrowed to an account's days, a session, or what is new."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import insert, text

from service.store import tables
from service.store.engine import Database
from tests.store.plans import plan

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SESSIONS = 6_000
AT_ONCE = 1_000
MONTH = "account_sid = 'account-1' AND day >= '2026-03-08' AND day < '2026-03-10'"
QUERIES = {
    f"SELECT * FROM report_daily_v1 WHERE {MONTH}": "session_day",
    f"SELECT * FROM report_failures_v1 WHERE {MONTH}": "session_day",
    "SELECT * FROM report_timeline_v1 WHERE position > 5000 ORDER BY position LIMIT 10": "event_position",
    "SELECT * FROM report_timeline_v1 WHERE position > 0 ORDER BY position LIMIT 10": "event_position",
    "SELECT * FROM report_timeline_v1 WHERE session_id IN"
    " (SELECT session_id FROM report_sessions_v1 WHERE call_sid = 'call 7')"
    " ORDER BY position": "event_subject",
    "SELECT * FROM report_timeline_v1 WHERE session_id = 's-7' ORDER BY position": "event_subject",
    "SELECT * FROM report_sessions_v1 WHERE account_sid = 'account-1'"
    " AND requested_at > '2026-03-09T00:00:00.000000Z' ORDER BY requested_at, session_id"
    " LIMIT 10": "session_account_sid",
    "SELECT * FROM report_callbacks_v1 WHERE received_at > '2026-03-09T00:00:00.000000Z'"
    " ORDER BY received_at LIMIT 10": "callback_received",
}


@pytest.fixture
def filled(database: Database) -> Database:
    for start in range(0, SESSIONS, AT_ONCE):
        numbers = range(start, start + AT_ONCE)
        with database.begin() as db:
            db.execute(insert(tables.session), [_session(number) for number in numbers])
            db.execute(insert(tables.event), [_event(number) for number in numbers])
    if not database.is_sqlite:
        with database.begin() as db:
            db.execute(text("ANALYZE session"))
            db.execute(text("ANALYZE event"))
    return database


def _at(number: int) -> datetime:
    return NOON + timedelta(minutes=10 * number)


def _session(number: int) -> dict[str, Any]:
    return {
        "id": f"s-{number}",
        "origin": "api",
        "account_sid": f"account-{number % 20}",
        "call_sid": f"call {number}",
        "status_callback_method": "POST",
        "labels": {},
        "requested_at": _at(number),
        "attempts": 1,
        "state": "stopped",
        "callbacks": 1,
        "updated_at": _at(number),
    }


def _event(number: int) -> dict[str, Any]:
    return {
        "subject_kind": "session",
        "subject_id": f"s-{number}",
        "kind": "created",
        "actor": "an app",
        "correction": False,
        "changes": {"state": [None, "requested"]},
        "state": "requested",
        "account_sid": "account-1",
        "happened_at": _at(number),
        "written_at": _at(number),
        "digest": b"",
        "position": number + 1,
        "numbered_at": _at(number),
    }


def test_reports_are_read_by_the_index_that_fits(filled: Database) -> None:
    with filled.read() as db:
        for query, index in QUERIES.items():
            found = plan(db, partial(db.exec_driver_sql, query))
            assert re.search(rf"\b{index}\b", found), f"{query}\n{found}"
            assert not re.search(r"Seq Scan on (session|event|callback)\b", found), f"{query}\n{found}"
            assert not re.search(r"^SCAN (session|event|callback)$", found, re.MULTILINE), f"{query}\n{found}"


def test_the_days_of_one_account_are_looked_up_by_both(filled: Database) -> None:
    """The index is used for the day as well: else all that the account ever did would be read."""
    query = f"SELECT * FROM report_daily_v1 WHERE {MONTH}"
    with filled.read() as db:
        found = plan(db, lambda: db.exec_driver_sql(query).all())
    wanted = (
        r"session_day \(account_sid=\? AND <expr>" if filled.is_sqlite else r"Index Cond: .*account_sid.*date"
    )
    assert re.search(wanted, found), found
