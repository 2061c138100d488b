"""A made-up day, played into a ledger: whole, spread over a day, and marked as made up."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import select

from service.domain.access import ALL_BUT_ADMIN, Access
from service.ledger import keys as ledger_keys
from service.ledger import wellness
from service.sandbox import Sandbox
from service.sandbox.history import ERRORS, STARTS, Day
from service.store import backup, events, keys
from service.store.engine import Database
from service.store.tables import callback, event, session, session_label
from tests.bed.processes import environment, ledger_command

NOW = datetime.now(UTC)
NOT_COVERED = {"sequence", "digest", "position", "numbered_at"}


@pytest.fixture(scope="module")
def telnyx() -> Sandbox:
    return Sandbox()


@pytest.fixture(scope="module")
def settings(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, telnyx: Sandbox
) -> dict[str, str]:
    path = tmp_path_factory.mktemp("history") / "ledger.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    return {
        "PUBLIC_URL": "http://127.0.0.1:8000",
        "SECRET_KEY": "a secret that is long enough for a test",
        "DATABASE_URL": f"sqlite:///{path}",
        "SPOOL": "off",
        "TELNYX_API_KEY": telnyx.api_key,
        "TELNYX_PUBLIC_KEY": telnyx.public_key,
    }


def play(settings: dict[str, str], lines: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ledger_command("demo-history"),
        input=lines,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def played(settings: dict[str, str], telnyx: Sandbox) -> Database:
    done = play(settings, Day(telnyx, NOW).lines())
    assert (done.returncode, done.stderr) == (0, "")
    return Database(settings["DATABASE_URL"])


def test_the_ledger_is_whole(played: Database, settings: dict[str, str], tmp_path: Path) -> None:
    live = backup.sqlite_file(settings["DATABASE_URL"])
    assert live is not None
    backup.copy(live, tmp_path / "copy.sqlite3")
    assert backup.check(tmp_path / "copy.sqlite3").problems == []


def test_every_start_and_every_callback_is_there(played: Database, telnyx: Sandbox) -> None:
    lines = [json.loads(line) for line in Day(telnyx, NOW).lines().splitlines()]
    kinds = Counter(line["kind"] for line in lines)
    with played.read() as db:
        asked = db.execute(select(session.c.state).where(session.c.origin == "api")).all()
        told = sum(db.scalars(select(callback.c.deliveries)))
        problems = db.scalars(select(callback.c.problem).where(callback.c.problem.is_not(None))).all()
    assert len(asked) == kinds["start"]
    assert told == kinds["callback"]
    assert problems == []


def test_it_has_what_a_day_has(played: Database) -> None:
    with played.read() as db:
        rows = db.execute(select(session.c.state, session.c.origin, session.c.failure_detail)).all()
        repeated = db.scalars(select(callback.c.id).where(callback.c.deliveries > 1)).all()
    states = Counter(row.state for row in rows)
    assert states["stopped"] > 100
    assert states["refused"] >= 4
    assert states["accepted"] == 2  # never heard of
    assert {row.failure_detail for row in rows if row.state == "failed"} == set(ERRORS)
    assert sum(row.origin == "adopted" for row in rows) >= 2
    assert repeated


def test_all_of_it_is_marked_as_made_up(played: Database) -> None:
    with played.read() as db:
        sids = db.scalars(select(session.c.call_sid)).all()
        asked = set(db.scalars(select(session.c.id).where(session.c.origin == "api")))
        labelled = set(
            db.scalars(
                select(session_label.c.session_id).where(
                    session_label.c.name == "demo", session_label.c.value == "history"
                )
            )
        )
    assert all(sid.startswith("v3:history-") for sid in sids)
    assert labelled == asked


def test_each_event_was_written_and_numbered_when_it_happened(played: Database) -> None:
    with played.read() as db:
        rows = db.execute(select(event).order_by(event.c.position)).mappings().all()
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(before["numbered_at"] <= after["numbered_at"] for before, after in pairwise(rows))
    assert all(abs(row["numbered_at"] - row["written_at"]) < timedelta(milliseconds=2) for row in rows)
    for row in rows:
        assert row["digest"] == events.digest({name: row[name] for name in row if name not in NOT_COVERED})


def test_it_is_spread_over_a_day(played: Database) -> None:
    with played.read() as db:
        times = db.scalars(select(session.c.requested_at).where(session.c.origin == "api")).all()
    of_the_day = [at for at in times if NOW - timedelta(days=1) < at < NOW]
    assert len(of_the_day) == len(times) - 2
    assert len({at.replace(minute=0, second=0, microsecond=0) for at in of_the_day}) > 12
    assert STARTS - 10 < len(of_the_day) <= STARTS


def test_it_is_no_reason_not_to_be_well(played: Database) -> None:
    with played.read() as db:
        codes = {reason.code for reason in wellness.look(db, NOW).reasons}
    assert codes <= {"no_process", "watch_behind"}  # nothing runs here


def test_it_goes_into_no_ledger_that_holds_something(
    settings: dict[str, str], tmp_path: Path, sqlite_template: Path
) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    url = f"sqlite:///{path}"
    database = Database(url)
    with database.begin() as db:
        ledger_keys.create(db, "a real one", Access(ALL_BUT_ADMIN), None, "operator", NOW)
    database.close()
    done = play({**settings, "DATABASE_URL": url}, "")
    assert done.returncode == 1
    assert "nothing made up is put beside it" in done.stderr
    with Database(url).read() as db:
        assert [key.name for key in keys.listed(db)] == ["a real one"]


def test_it_goes_into_no_postgresql(settings: dict[str, str]) -> None:
    done = play({**settings, "DATABASE_URL": "postgresql://nowhere/ledger"}, "")
    assert done.returncode == 1
    assert "only SQLite's clock can be moved" in done.stderr


def test_its_command_is_not_advertised() -> None:
    done = subprocess.run(
        ledger_command("--help"), capture_output=True, text=True, env=environment(dict(os.environ))
    )
    assert "demo-history" not in done.stdout
