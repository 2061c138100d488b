"""Whether all is well, as the page, the command and HEARTBEAT_URL say it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Table, insert, text, update

from service.ledger import wellness
from service.ledger.wellness import Reason
from service.store import processes
from service.store.engine import Database
from service.store.tables import event, process
from service.store.watch_tables import alert, due, spool
from tests.ledger.watching import add_session, overdue

NOW = datetime.now(UTC).replace(microsecond=0)


def seconds_ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.fixture
def db(database: Database) -> Any:
    """A service that runs, and nothing else."""
    with database.begin() as db:
        processes.beat(db, "p1", "host-a", None, None)
        yield db


def codes(db: Connection, accounts: frozenset[str] | None = None) -> list[str]:
    return [reason.code for reason in reasons(db, accounts)]


def reasons(db: Connection, accounts: frozenset[str] | None = None) -> Sequence[Reason]:
    return wellness.look(db, NOW, accounts).reasons


def test_all_is_well_while_a_process_is_seen_and_nothing_waits(db: Connection) -> None:
    assert codes(db) == []
    assert wellness.look(db, NOW).is_well


def test_nothing_is_well_while_no_process_is_seen(database: Database) -> None:
    with database.read() as db:
        assert codes(db) == ["no_process"]


def test_live_calls_that_are_probably_not_recorded_come_first_and_say_what_to_do(db: Connection) -> None:
    overdue(db, add_session(db), "not_stopped")
    overdue(db, add_session(db), "not_started", call_status="in-progress")
    overdue(db, add_session(db), "stopped_early", call_status="ringing")
    found = reasons(db)
    assert [reason.code for reason in found] == ["live_unrecorded", "overdue_not_stopped"]
    assert found[0].words == "2 calls are live and probably not recorded."
    assert (found[0].side, found[0].path) == ("recorder", "/sessions?overdue=true")
    assert found[1].words.startswith("1 session is overdue: It was asked to stop")


def test_a_process_adds_what_it_knows_for_itself_behind_live_calls(db: Connection) -> None:
    overdue(db, add_session(db), "not_stopped")
    overdue(db, add_session(db), "not_started", call_status="in-progress")
    found = wellness.look(db, NOW)
    assert wellness.seen_from(found, takes_writes=True, waiting=0) == found
    seen = wellness.seen_from(found, takes_writes=False, waiting=2)
    named = ["live_unrecorded", "no_writes", "spool_waits", "overdue_not_stopped"]
    assert [reason.code for reason in seen.reasons] == named


def test_what_the_heartbeat_has_told_of_the_spool_is_not_said_twice(db: Connection) -> None:
    values = {"id": "s1", "host": "host-a", "seen_at": NOW, "entries": 3, "dead_letters": 0}
    db.execute(insert(spool).values(values))
    seen = wellness.seen_from(wellness.look(db, NOW), takes_writes=True, waiting=2)
    assert [reason.words for reason in seen.reasons] == ["3 entries wait in the spool on host-a."]


def test_what_is_unknown_is_not_called_unrecorded(db: Connection) -> None:
    overdue(db, add_session(db), "not_started", "unknown: we were away", call_status="in-progress")
    assert codes(db) == ["unknown"]


def test_a_limited_key_is_told_of_its_own_sessions_and_alerts_alone(db: Connection) -> None:
    overdue(db, add_session(db, account_sid="mine"), "not_started")
    overdue(db, add_session(db, account_sid="others"), "not_stopped")
    assert codes(db, frozenset({"mine"})) == ["overdue_not_started"]
    assert codes(db, frozenset({"third"})) == []


ROWS: list[tuple[Table, dict[str, Any], list[str]]] = [
    (spool, {"entries": 0}, []),
    (spool, {"entries": 3}, ["spool_waits"]),
    (spool, {"entries": 0, "dead_letters": 1}, ["dead_letters"]),
    (spool, {"entries": 0, "seen_at": seconds_ago(20)}, ["spool_unseen"]),
    (spool, {"entries": 3, "seen_at": seconds_ago(20), "retired_at": NOW}, []),
]


@pytest.mark.parametrize(("table", "values", "expected"), ROWS)
def test_a_spool_that_is_not_empty_or_not_seen_is_a_reason(
    db: Connection, table: Table, values: dict[str, Any], expected: list[str]
) -> None:
    usual = {"id": "s1", "host": "host-a", "seen_at": NOW, "dead_letters": 0}
    db.execute(insert(table).values(usual | values))
    assert codes(db) == expected


def _process(db: Connection, id: str, started: float, alive: float) -> None:
    values = {"started_at": seconds_ago(started), "alive_at": seconds_ago(alive)}
    processes.beat(db, id, "host-b", None, None)
    db.execute(update(process).where(process.c.id == id).values(values))


@pytest.mark.parametrize(
    ("vanished", "started", "expected"),
    [
        ([(900, 60)], [], ["process_lost"]),
        ([(900, 60)], [(58, 0)], []),
        ([(900, 60), (900, 60)], [(58, 0)], ["process_lost"]),
        ([(900, 60)], [(800, 0)], ["process_lost"]),  # it was there before, and replaces nobody
        ([(2000, 700)], [], []),  # so long ago that nobody awaits it
    ],
)
def test_a_process_that_vanished_is_missed_until_another_takes_its_place(
    db: Connection,
    vanished: list[tuple[float, float]],
    started: list[tuple[float, float]],
    expected: list[str],
) -> None:
    for number, (began, alive) in enumerate((*vanished, *started)):
        _process(db, f"b{number}", began, alive)
    assert codes(db) == expected


def test_an_open_alert_is_a_reason_until_it_ends(db: Connection) -> None:
    values = {"opened_at": NOW, "updated_at": NOW, "affected": 1, "total": 1, "notice": 1}
    values |= {"notice_sent": 0, "notice_tries": 0, "connector_name": "", "account_sid": "a1"}
    values |= {"notice_kind": "opened", "noticed_affected": 1, "noticed_at": NOW}
    db.execute(insert(alert).values(id="a", cause="credentials", **values))
    assert codes(db) == ["alerts"]
    assert codes(db, frozenset({"a2"})) == []
    db.execute(update(alert).values(ended_at=NOW))
    assert codes(db) == []


def test_the_watch_is_behind_where_an_event_or_a_due_row_waits(db: Connection) -> None:
    session_id = add_session(db)
    db.execute(insert(due).values(session_id=session_id, kind="x", since=NOW, next_at=seconds_ago(1)))
    assert codes(db) == []
    db.execute(update(due).values(next_at=seconds_ago(60)))
    assert codes(db) == ["watch_behind"]
    db.execute(due.delete())
    _event(db, position=1, numbered_at=seconds_ago(60))
    assert codes(db) == ["watch_behind"]
    db.execute(text("UPDATE watch SET position = 1"))
    assert codes(db) == []


def test_an_event_that_long_has_no_position_is_a_reason(db: Connection) -> None:
    _event(db, position=None, numbered_at=None, written_at=datetime.now(UTC) - timedelta(seconds=60))
    assert codes(db) == ["numbering_behind"]


def _event(db: Connection, **values: Any) -> None:
    usual: dict[str, Any] = {"subject_kind": "key", "subject_id": "k", "kind": "created", "actor": "operator"}
    usual |= {"correction": False, "changes": {}, "happened_at": NOW, "written_at": NOW, "digest": b"x"}
    db.execute(insert(event).values(usual | values))


def test_an_old_schema_is_the_only_reason(db: Connection) -> None:
    db.execute(text("UPDATE alembic_version SET version_num = '0003.last_used'"))
    assert codes(db) == ["schema"]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)  # PostgreSQL scans tables as small
def test_looking_reads_no_table_of_sessions_from_end_to_end(db: Connection) -> None:
    statements: list[str] = []
    db.connection.driver_connection.set_trace_callback(statements.append)  # type: ignore[union-attr]
    wellness.look(db, NOW)
    db.connection.driver_connection.set_trace_callback(None)  # type: ignore[union-attr]
    plans = [
        str(step[3])
        for statement in statements
        if statement.lstrip().startswith("SELECT")
        for step in db.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}").fetchall() or []
    ]
    scanned = [plan for plan in plans if plan.startswith("SCAN") and "USING" not in plan]
    allowed = ("process", "spool", "watch", "alembic", "waiting", "CONSTANT", "(subquery", "anon", "sqlite")
    assert plans
    assert [plan for plan in scanned if not any(name in plan for name in allowed)] == []
