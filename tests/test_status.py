"""What a terminal tells whoever is on duty: is all well, which calls, whose side, what to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from service import cli
from service.store import processes
from service.store.engine import Database
from tests.ledger.watching import add_session, overdue

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOBODY = "postgresql://postgres@/ledger?host=/nowhere"


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli.main, list(arguments), env={"DATABASE_URL": url})


@pytest.fixture
def serving(database: Database) -> Database:
    """A process is alive."""
    with database.begin() as db:
        processes.beat(db, "process-1", "host-a", None, None)
    return database


def test_all_is_well_while_nothing_is_overdue(serving: Database, database_url: str) -> None:
    with serving.begin() as db:
        add_session(db, state="started")
        add_session(db, state="stopped")
    found = run(database_url, "status")
    assert found.exit_code == 0, found.output
    lines = found.output.splitlines()
    assert lines[:3] == ["All is well.", "Sessions in progress: 1 (started 1)", "Overdue: 0"]
    assert lines[-1].startswith("Last heartbeat: ")


def test_what_is_not_well_names_calls_sides_and_what_to_do(serving: Database, database_url: str) -> None:
    with serving.begin() as db:
        late = add_session(db, call_sid="call-late", state="started", stop_requested_at=NOON)
        overdue(db, late, "not_stopped", call_status="in-progress")
        live = add_session(db, call_sid="call-live\x1b", requested_at=NOON)
        overdue(db, live, "not_started", call_status="in-progress")
    found = run(database_url, "status")
    assert found.exit_code == 1
    lines = found.output.splitlines()
    assert lines[0] == "Not all is well:"
    assert lines[1].startswith(
        "- 1 call is live and probably not recorded. Side: recorder. Check the recorder"
    )
    listed = lines[lines.index("Overdue sessions, calls that go on first:") + 1 :]
    assert listed[0] == (
        rf"- {live}, call call-live\x1b: The call is up, and probably not being recorded. Side: recorder."
    )
    assert listed[1].startswith(f"- {late}, call call-late: It was asked to stop, and Telnyx never said")
    assert "Overdue: 2 (not_started 1, not_stopped 1)" in lines


def test_what_is_overdue_for_days_is_named_and_all_is_well(serving: Database, database_url: str) -> None:
    with serving.begin() as db:
        old = add_session(db, call_sid="call-old", requested_at=NOON)
        overdue(db, old, "not_started", since=datetime.now(UTC) - timedelta(days=2))
    found = run(database_url, "status")
    assert found.exit_code == 0
    lines = found.output.splitlines()
    assert lines[:2] == ["All is well.", "Overdue for more than a day, calls that go on first:"]
    assert lines[2].startswith(f"- {old}, call call-old: ")


def test_without_a_process_or_a_database_nothing_is_well(database: Database, database_url: str) -> None:
    found = run(database_url, "status")
    assert found.exit_code == 1
    assert "No process of the service has been seen" in found.output
    assert run(NOBODY, "status").exit_code == 1


def test_sessions_are_listed_as_a_table_the_newest_first(database: Database, database_url: str) -> None:
    with database.begin() as db:
        first = add_session(db, call_sid="call-1", reference="claim\n1", requested_at=NOON)
        second = add_session(db, call_sid="call-22", requested_at=NOON + timedelta(seconds=1))
        overdue(db, second, "not_started")
    lines = run(database_url, "sessions").output.splitlines()
    assert [line.split() for line in lines] == [
        ["REQUESTED", "STATE", "OVERDUE", "ACCOUNT", "CONNECTOR", "REFERENCE", "CALL", "ID"],
        [
            "2026-03-01",
            "12:00:01",
            "accepted",
            "not_started",
            "account",
            "recorder-1",
            "-",
            "call-22",
            second,
        ],
        ["2026-03-01", "12:00:00", "accepted", "-", "account", "recorder-1", r"claim\x0a1", "call-1", first],
    ]
    assert len({line.index(" ca") for line in lines[1:]}) == 1


def test_sessions_are_narrowed_and_written_as_json(database: Database, database_url: str) -> None:
    with database.begin() as db:
        for account_sid in ("account-1", "account-2"):
            for state in ("accepted", "failed"):
                named: dict[str, Any] = {"connector_name": f"recorder of {account_sid}", "reference": state}
                add_session(
                    db, account_sid=account_sid, state=state, call_sid=f"{account_sid} {state}", **named
                )
    narrowed = [
        (["--account", "account-1", "--state", "failed"], ["account-1 failed"]),
        (["--state", "failed", "--state", "accepted", "--limit", "3"], 3),
        (["--connector", "recorder of account-2", "--reference", "accepted"], ["account-2 accepted"]),
        (["--call", "account-2 failed"], ["account-2 failed"]),
        (["--overdue"], []),
    ]
    for options, wanted in narrowed:
        found = run(database_url, "sessions", "--json", *options)
        assert found.exit_code == 0, found.output
        calls = [json.loads(line)["call_sid"] for line in found.output.splitlines()]
        assert calls == wanted or len(calls) == wanted


def test_a_document_holds_times_in_utc_and_what_is_overdue(database: Database, database_url: str) -> None:
    with database.begin() as db:
        overdue(db, add_session(db, requested_at=NOON), "not_started", since=NOON)
    (line,) = run(database_url, "sessions", "--json").output.splitlines()
    found = json.loads(line)
    assert found["requested_at"] == "2026-03-01T12:00:00.000000Z"
    assert found["overdue"]["since"] == "2026-03-01T12:00:00.000000Z"
    assert (found["overdue"]["kind"], found["error"]) == ("not_started", None)
