"""Copies of the database: whole while callbacks come, and honest about what is not."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result
from sqlalchemy import text

from service import cli
from service.sandbox import EVENTS, Behaviour, Sandbox
from service.store import backup, contents
from service.store.engine import Database
from service.store.sqlite import DRIVER
from tests.bed import processes
from tests.bed.postgres import Postgres
from tests.house import House, wait_until

SENDERS = 4
SESSIONS = 20
FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 80)
INSERT INTO rejected_delivery
    (received_at, delivery_id, answered, reason, method, query, body, headers, size)
SELECT '2026-11-22T10:00:00.000000Z', i, 403, 'forged', 'POST', x'', randomblob(1000000), '{}', 1000000
FROM n"""

on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


def run(url: str | None, *arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, ["db", *map(str, arguments)], env={"DATABASE_URL": url})


class Senders:
    """Call back without a pause, each time with another number, which is `answered` once it was told 200."""

    def __init__(self, house: House, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._to = [
            (house.start(call).json()["siprec_sid"], house.callback_url(call))
            for call in (f"v3:call-{n}" for n in range(SESSIONS))
        ]
        self._goes_on = True
        self.answered: set[int] = set()
        self.others: set[int] = set()  # may be there or not
        self.slowest = 0.0

    @contextmanager
    def sending(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._send, args=(first,)) for first in range(SENDERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._goes_on = False
            for thread in threads:
                thread.join()

    def _send(self, number: int) -> None:
        with requests.Session() as http:
            while self._goes_on:
                sid, url = self._to[number % SESSIONS]
                body = self._sandbox.compose(sid, "siprec-started", Number=str(number))
                began = time.monotonic()
                status = http.post(url, data=body, headers=self._sandbox.sign(body), timeout=30).status_code
                self.slowest = max(self.slowest, time.monotonic() - began)
                (self.answered if status == 200 else self.others).add(number)
                number += SENDERS


def numbers(copy: Path) -> set[int]:
    """Of the callbacks that it holds."""
    with closing(DRIVER.connect(str(copy))) as db:
        bodies = [bytes(body) for (body,) in db.execute("SELECT body FROM callback")]
    return {int(found[1]) for body in bodies if (found := re.search(rb"\bNumber=(\d+)", body))}


@on_sqlite
def test_what_was_answered_before_the_copy_began_is_in_it_and_nobody_waits_for_it(
    build: Callable[..., House], database_url: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    with closing(
        DRIVER.connect(database_url.removeprefix("sqlite:///"))
    ) as db:  # its WAL is empty afterwards
        db.execute(FILL)
        db.commit()
    house = build(SPOOL="off")  # so that what is answered 200 is in the database
    senders, copy = Senders(house, sandbox), tmp_path / "copies" / "ledger.sqlite3"
    copy.parent.mkdir()
    with senders.sending():
        wait_until(lambda: len(senders.answered) > 200)
        before = set(senders.answered)
        made = run(database_url, "backup", copy)  # in this process: at once, not after the start of another
        after = len(senders.answered)
        wait_until(lambda: len(senders.answered) > after + 100)
    assert made.output.startswith(f"copied to {copy}: {SESSIONS} sessions, "), made.output
    held = numbers(copy)
    assert before <= held
    assert held < senders.answered | senders.others  # it went on meanwhile and afterwards
    assert len(senders.others) < 5  # where this machine itself stalls for a second
    assert senders.slowest < 3
    done = run(database_url, "restore", "--check", copy)
    assert (done.exit_code, "the copy is whole" in done.output) == (0, True), done.output
    assert f"it holds {SESSIONS} sessions, {len(held)} callbacks, " in done.output
    assert f"now holds {SESSIONS} sessions, " in done.output


@on_sqlite
def test_a_copy_that_is_put_back_serves(
    house: House, database_url: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    session_id = house.start(reference="claim 77").json()["id"]
    house.wait_for(session_id, "started")
    copy = tmp_path / "copy.sqlite3"
    assert run(database_url, "backup", copy).exit_code == 0
    with House(f"sqlite:///{copy}", sandbox) as restored:
        shown = restored.session(session_id)
        assert (shown["state"], shown["reference"]) == ("started", "claim 77")
        assert restored.start("v3:call-2").status_code == 201


@on_sqlite
def test_the_file_beside_its_wal_is_not_taken_for_a_copy(
    house: House, database_url: str, tmp_path: Path
) -> None:
    for n in range(32):
        assert house.start(f"v3:call-{n}").status_code == 201
    alone = tmp_path / "alone.sqlite3"
    shutil.copy(database_url.removeprefix("sqlite:///"), alone)
    done = run(None, "restore", "--check", alone)
    assert done.exit_code == 1
    assert "it holds 0 sessions, 0 callbacks, 0 events" in done.output
    assert "it is the file alone, not made by db backup: what was in its WAL then is missing" in done.output


@pytest.fixture
def copied(sqlite_template: Path, tmp_path: Path) -> Path:
    """A copy of an empty ledger, alone in its folder."""
    folder = tmp_path / "copies"
    folder.mkdir()
    shutil.copy(sqlite_template, tmp_path / "ledger.sqlite3")
    done = run(f"sqlite:///{tmp_path}/ledger.sqlite3", "backup", folder / "copy")
    assert (done.exit_code, done.output) == (
        0,
        f"copied to {folder / 'copy'}: 0 sessions, 0 callbacks, 0 events\n",
    )
    return folder / "copy"


def test_a_copy_is_one_file_for_its_owner_alone(copied: Path) -> None:
    assert [*copied.parent.iterdir()] == [copied]
    assert copied.stat().st_mode & 0o777 == 0o600
    assert run(None, "restore", "--check", copied).exit_code == 0
    assert [*copied.parent.iterdir()] == [copied]


def test_the_file_and_then_its_folder_are_synced(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    again = copied.with_name("again")
    backup.copy(tmp_path / "ledger.sqlite3", again)
    assert synced == [again.stat().st_ino, again.parent.stat().st_ino]


def _is_there(path: Path) -> None:
    path.write_text("precious")


def _leads_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [_is_there, _leads_nowhere])
def test_nothing_is_written_over(database_url: str, tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "copies" / "copy"
    path.parent.mkdir()
    make(path)
    before = path.lstat()
    done = run(database_url, "backup", path)
    assert (done.exit_code, f"there is something at {path}" in done.output) == (1, True), done.output
    assert (path.lstat().st_ino, path.lstat().st_size) == (before.st_ino, before.st_size)
    assert [*path.parent.iterdir()] == [path]


def test_what_comes_meanwhile_is_not_written_over(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied.with_name("another")
    monkeypatch.setattr(backup, "refuse_to_overwrite", _is_there)
    with pytest.raises(backup.BackupFailed, match="File exists"):
        backup.copy(tmp_path / "ledger.sqlite3", path)
    assert path.read_text() == "precious"
    assert sorted(copied.parent.iterdir()) == sorted([copied, path])


def test_a_copy_that_fails_leaves_nothing(copied: Path, tmp_path: Path) -> None:
    path = copied.with_name("another")
    (tmp_path / "no database").write_bytes(b"no database" * 1000)
    for live in "nowhere", "no database", "copies":
        done = run(f"sqlite:///{tmp_path}/{live}", "backup", path)
        assert (done.exit_code, done.output.startswith("Error: there is no copy: ")) == (1, True), live
    done = run(f"sqlite:///{tmp_path}/ledger.sqlite3", "backup", tmp_path / "no folder" / "copy")
    assert done.exit_code == 1
    assert not (tmp_path / "nowhere").exists()
    assert [*copied.parent.iterdir()] == [copied]


def test_a_full_disk_is_told_and_leaves_nothing(copied: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        processes.ledger_command("db", "backup", str(copied.with_name("another"))),
        env=processes.environment({"DATABASE_URL": f"sqlite:///{tmp_path}/ledger.sqlite3"}),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr.startswith("Error: there is no copy: ")) == (1, True), done.stderr
    assert [*copied.parent.iterdir()] == [copied]


def _cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 40_000)


def _of_text(path: Path) -> None:
    path.write_bytes(b"text" * 5000)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _without_a_session(path: Path) -> None:
    with closing(DRIVER.connect(str(path))) as db:
        db.execute(
            "INSERT INTO session_label VALUES ('gone', 'team', 'fraud', '2026-11-22T10:00:00.000000Z')"
        )
        db.commit()


@pytest.mark.parametrize("damage", [_cut_off, _overwritten, _of_text, _empty, _without_a_session])
def test_a_damaged_copy_is_not_whole(copied: Path, damage: Callable[[Path], Any]) -> None:
    damage(copied)
    done = run(None, "restore", "--check", copied)
    assert (done.exit_code, "Error: the copy is not whole:\n- " in done.output) == (1, True), done.output
    assert "Traceback" not in done.output
    if damage is _without_a_session:
        assert "of session_label belongs to a row of session that is not there" in done.output


def test_a_restore_is_explained_and_not_done(copied: Path, tmp_path: Path) -> None:
    before = copied.read_bytes()
    done = run(f"sqlite:///{tmp_path}/gone.sqlite3", "restore", "--check", copied)
    assert done.exit_code == 0
    for word in ("cursor", "409", "Idempotency-Key", "SPOOL_DIR", "revoked", "stop every process"):
        assert word in done.output
    assert not (tmp_path / "gone.sqlite3").exists()
    assert run(None, "restore", copied).exit_code == 2
    assert run(None, "restore", "--check", tmp_path / "nowhere").exit_code == 2
    assert copied.read_bytes() == before


def test_no_secret_is_in_the_line_for_pg_dump(tmp_path: Path) -> None:
    url = "postgresql://me:hush%20%27@a:5432,b:5433/ledger?sslmode=require&sslpassword=hush"
    done = run(url, "backup", tmp_path / "a copy")
    assert done.exit_code == 0
    assert "hush" not in done.output
    assert done.stdout == (
        f"pg_dump --format=custom '--file={tmp_path}/a copy' "
        "'--dbname=user=me dbname=ledger host=a,b port=5432,5433 sslmode=require'\n"
    )
    assert done.stderr.startswith("Nothing is copied yet: run this line.")


@on_postgresql
def test_the_line_for_pg_dump_makes_a_copy_that_can_be_restored(
    house: House, database_url: str, postgres: Postgres, tmp_path: Path
) -> None:
    if not postgres.is_ours or not (postgres.programs / "pg_dump").exists():
        pytest.skip("no pg_dump of this server's version")
    session_id = house.start(reference="claim 77").json()["id"]
    house.wait_for(session_id, "started")
    dump = tmp_path / "ledger.dump"
    line = run(database_url, "backup", dump).stdout
    environment = {"PATH": f"{postgres.programs}:{os.environ['PATH']}"}
    subprocess.run(line, shell=True, env=environment, check=True, timeout=60)
    done = run(None, "restore", "--check", dump)
    assert (done.exit_code, "only pg_restore can tell" in done.output) == (1, True)
    restored = postgres.create_database()
    command = ["pg_restore", "--exit-on-error", f"--dbname={restored}", str(dump)]
    subprocess.run(command, env=environment, check=True, timeout=60)
    with closing(Database(restored)) as database, database.read() as db:
        assert contents.of(db).sessions == 1
        assert db.scalar(text("SELECT reference FROM report_sessions_v1")) == "claim 77"
    postgres.drop_database(restored)
