"""`siprec-ledger report`: the same rows as over HTTP, in a file that is whole or not there."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from service import cli
from service.commands import report as command
from service.store.engine import Database, DatabaseUnavailable
from service.store.report_views import Kind
from service.store.reports import REPORTS
from tests.bed import processes
from tests.store.any_history import AnyHistory
from tests.store.told import Told, by_sql, in_order

SESSIONS = 40
NOBODY = "postgresql://postgres@/ledger?host=/nowhere"


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["report", *arguments], env={"DATABASE_URL": url})


@pytest.fixture
def ledger(database: Database) -> Database:
    AnyHistory(1).write(database, SESSIONS)
    return database


def ndjson(result: Result) -> list[Told]:
    assert result.exit_code == 0, result.output
    *rows, last = map(json.loads, result.stdout.splitlines())
    assert last["end"] == {"complete": True, "rows": len(rows), "position": SESSIONS}
    return rows


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_is_what_its_view_says(ledger: Database, database_url: str, name: str) -> None:
    expected = by_sql(ledger, name)
    assert in_order(name, ndjson(run(database_url, name, "--format", "ndjson"))) == expected
    exact = run(database_url, name, "--exact")
    columns, *rows, last = csv.reader(io.StringIO(exact.stdout, newline=""))
    assert (tuple(columns), len(rows)) == (REPORTS[name].view.columns, len(expected))
    assert last == [f"# rows: {len(expected)}, up to position {SESSIONS}"]


@pytest.mark.parametrize("name", REPORTS)
def test_parquet_has_the_same_rows_with_types(
    ledger: Database, database_url: str, name: str, tmp_path: Path
) -> None:
    parquet = import_module("pyarrow.parquet")
    path = tmp_path / "report.parquet"
    assert run(database_url, name, "--format", "parquet", "-o", str(path)).exit_code == 0
    table = parquet.read_table(path)
    expected = by_sql(ledger, name)
    assert in_order(name, [said(name, row) for row in table.to_pylist()]) == expected
    told = parquet.read_metadata(path).metadata
    assert (told[b"rows"], told[b"position"]) == (str(len(expected)).encode(), str(SESSIONS).encode())
    types = {column: str(table.schema.field(column).type) for column in table.schema.names}
    wanted = {
        Kind.TIME: "timestamp[us, tz=UTC]",
        Kind.WHOLE: "int64",
        Kind.NUMBER: "double",
        Kind.DAY: "date32[day]",
    }
    for column, type_ in types.items():
        kind = REPORTS[name].view.kind(column)
        assert type_ == wanted.get(kind, "bool" if kind is Kind.TRUTH else "string")


def said(name: str, row: dict[str, Any]) -> Told:
    made = {}
    for column, value in row.items():
        kind = REPORTS[name].view.kind(column)
        if value is not None and kind is Kind.TIME:
            value = value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        elif value is not None and kind is Kind.DAY:
            value = value.isoformat()
        made[column] = json.loads(value) if kind is Kind.LABELS else value
    return made


def test_filters_narrow_it(ledger: Database, database_url: str) -> None:
    rows = by_sql(ledger, "sessions")

    def found(*arguments: str) -> set[str]:
        shown = ndjson(run(database_url, "sessions", "--format", "ndjson", *arguments))
        return {row["session_id"] for row in shown}

    def fitting(**wanted: Any) -> set[str]:
        fits = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
        assert fits
        return {row["session_id"] for row in fits}

    assert found("--account", "account-1") == fitting(account_sid="account-1")
    assert found("--connector", "recorder") == fitting(connector_name="recorder")
    assert found("--reference", "plain") == fitting(reference="plain")
    assert found("--state", "failed", "--state", "stopped") == fitting(state="failed") | fitting(
        state="stopped"
    )
    assert found("--label", "team:plain") == {
        r["session_id"] for r in rows if r["labels"].get("team") == "plain"
    }
    in_berlin = ("--zone", "Europe/Berlin", "--since", "2026-10-25", "--until", "2026-10-26")
    first, last = "2026-10-24T22:00:00.000000Z", "2026-10-25T23:00:00.000000Z"
    assert found(*in_berlin) == {r["session_id"] for r in rows if first <= r["requested_at"] < last}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("weekly",), "'weekly' is not one of"),
        (("sessions", "--since", "yesterday"), "a day, like 2026-11-28"),
        (("sessions", "--since", "2026-11-28", "--until", "2026-11-27"), "not before since"),
        (("sessions", "--zone", "Berlin"), "like Europe/Berlin"),
        (("daily", "--since", "2026-11-28T10:00:00Z"), "begins in UTC"),
        (("sessions", "--label", "team"), "team:fraud"),
        (("rejected", "--state", "failed"), "--state narrows no rows"),
    ],
)
def test_what_is_asked_for_wrongly_is_said(database_url: str, arguments: tuple[str, ...], words: str) -> None:
    result = run(database_url, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_file_is_there_once_all_is_in_it(
    ledger: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sessions.csv"
    assert run(database_url, "sessions", "-o", str(path)).exit_code == 0
    whole = path.read_bytes()
    assert b'"# rows: ' in whole.splitlines()[-1]
    monkeypatch.setattr("service.exports.pages.ROWS_AT_ONCE", 5)
    broken = run(break_off(monkeypatch, database_url), "sessions", "-o", str(path))
    assert broken.exit_code == 1
    assert "the database does not answer" in broken.stderr
    assert [one.name for one in tmp_path.glob("sessions.*")] == ["sessions.csv"]
    assert path.read_bytes() == whole


def test_on_stdout_the_last_line_says_that_it_failed(
    ledger: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.exports.pages.ROWS_AT_ONCE", 5)
    broken = run(break_off(monkeypatch, database_url), "sessions", "--format", "ndjson")
    assert broken.exit_code == 1
    *rows, last = map(json.loads, broken.stdout.splitlines())
    assert last["end"] == {"complete": False, "rows": 10, "why": "the database did not answer"}
    assert len(rows) == 10


def break_off(monkeypatch: pytest.MonkeyPatch, url: str) -> str:
    """The third page of a report cannot be read any more."""
    reads = iter(range(100))
    read = Database.read

    def read_twice(database: Database, deadline: float | None = None) -> Any:
        if next(reads) > 2:  # the first is where the feed ends
            raise DatabaseUnavailable("it is gone")
        return read(database, deadline)

    monkeypatch.setattr(Database, "read", read_twice)
    return url


def test_without_a_database_it_says_so() -> None:
    result = run(NOBODY, "sessions")
    assert result.exit_code == 1
    assert "the database does not answer" in result.stderr


def test_without_pyarrow_it_says_how_to_get_it(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "service.exports.parquet", raising=False)
    result = run(database_url, "sessions", "--format", "parquet", "-o", "x.parquet")
    assert result.exit_code == 1
    assert command.NO_PYARROW in result.stderr
    assert not Path("x.parquet").exists()


@pytest.mark.parametrize("name", ["sessions", "daily"])
def test_a_terminal_sees_how_far_it_is(ledger: Database, database_url: str, name: str) -> None:
    ours, theirs = pty.openpty()
    environment = processes.environment({"DATABASE_URL": database_url, "TERM": "xterm"})
    program = "import sys; from service.cli import main; main(['report', sys.argv[1]])"
    command = [sys.executable, "-c", program, name]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=theirs, timeout=60, check=True
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    rows = len(by_sql(ledger, name))
    assert f"{rows}/{rows}" in shown if name == "sessions" else name in shown
    assert f'"# rows: {rows}, '.encode() in done.stdout
