"""What the page Now shows, out of either database."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, event, text

from service.domain.state import State
from service.store import alerts as store_alerts
from service.store import now as store_now
from service.store import wellness
from service.store.engine import Database
from service.store.now import Starts
from service.web.pages.charts import day_of
from tests.ledger.watching import add_session, overdue

NOW = datetime(2027, 1, 31, 12, 30, tzinfo=UTC)


def test_starts_are_counted_by_hour_outcome_and_seconds(database: Database) -> None:
    half_past = NOW - timedelta(hours=1)
    with database.begin() as db:
        for seconds in (0.4, 0.5, 0.6, 31):
            started = half_past + timedelta(seconds=seconds)
            add_session(db, requested_at=half_past, started_at=started, state="stopped")
        add_session(db, requested_at=NOW, state="refused")
        add_session(db, requested_at=NOW - timedelta(days=1, seconds=1), state="refused")
        add_session(db, requested_at=NOW, state="started", origin="adopted")
        add_session(db, requested_at=NOW, state="started", account_sid="another")
        found = store_now.starts(db, frozenset({"account"}), NOW)
    noon = NOW.replace(minute=0)
    assert sorted(found, key=str) == sorted(
        [
            Starts(noon - timedelta(hours=1), False, 0, 2),
            Starts(noon - timedelta(hours=1), False, 1, 1),
            Starts(noon - timedelta(hours=1), False, 6, 1),
            Starts(noon, True, None, 1),
        ],
        key=str,
    )
    day = day_of(found, NOW)
    assert (day.starts, day.failed, day.started, len(day.hours)) == (5, 1, 4, 25)
    assert day.hours[-1].begin == noon


def test_live_calls_come_first(database: Database) -> None:
    with database.begin() as db:
        calls, now = {}, datetime.now(UTC)
        for name, status, back in (("new", None, 1), ("live", "in-progress", 9), ("over", "completed", 2)):
            calls[name] = add_session(db)
            overdue(db, calls[name], "not_started", since=now - timedelta(minutes=back), call_status=status)
        found = store_now.overdue(db, None, 2)
    assert [one.id for one in found] == [calls["live"], calls["new"]]


def test_what_is_overdue_for_longer_than_a_day_is_left_to_lists_as_the_verdict_does(
    database: Database,
) -> None:
    with database.begin() as db:
        for hours in (23, 25):
            overdue(db, add_session(db), "not_started", since=datetime.now(UTC) - timedelta(hours=hours))
        assert len(store_now.overdue(db, None, 10)) == 1
        assert sum(one.count for one in wellness.overdue_sessions(db, None)) == 1


def test_only_the_accounts_of_a_key_are_counted(database: Database) -> None:
    with database.begin() as db:
        for account in ("one", "one", "other"):
            overdue(db, add_session(db, account_sid=account, state="accepted"), "not_started")
        assert store_now.in_progress(db, frozenset({"one"}))[State.ACCEPTED] == 2
        assert store_now.in_progress(db, None)[State.ACCEPTED] == 3
        assert len(store_now.overdue(db, frozenset({"other"}), 10)) == 1


def test_no_part_looks_through_a_whole_table(database: Database) -> None:
    """As the database plans it; PostgreSQL without its liking for scans of small tables."""
    asked: list[tuple[str, object]] = []

    def note(_db: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        asked.append((statement, parameters))

    with database.begin() as db:
        event.listen(db, "before_cursor_execute", note)
        for accounts in (None, frozenset({"one", "other"})):
            store_now.in_progress(db, accounts)
            store_now.overdue(db, accounts, 10)
            store_now.starts(db, accounts, NOW)
            store_now.callbacks(db, accounts, NOW)
            store_alerts.page(db, accounts, True, None, 50)
        event.remove(db, "before_cursor_execute", note)
        assert len(asked) > 15
        if not database.is_sqlite:
            db.execute(text("SET LOCAL enable_seqscan = off"))
        for statement, parameters in asked:
            plan = explained(db, statement, parameters)
            assert not re.search(r"SCAN (session|session_watch|callback)\b", plan), plan
            assert not re.search(r"Seq Scan on (session|session_watch|callback)\b", plan), plan


def explained(db: Connection, statement: str, parameters: object) -> str:
    word = "EXPLAIN QUERY PLAN" if db.dialect.name == "sqlite" else "EXPLAIN"
    rows = db.exec_driver_sql(f"{word} {statement}", parameters).all()  # type: ignore[arg-type]
    return "".join(f"{row[-1]}\n" for row in rows)
