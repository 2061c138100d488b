"""What cannot be drained is listed with its reason, and tried again when somebody says so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.domain.ids import new_id
from service.domain.notice import Notice, NoticeKind
from service.ledger import spool_entry
from service.ledger.spool_entry import UnsavedAnswer
from service.spool import Spool
from service.store.engine import Database
from tests.house import House, wait_until
from tests.ledger.desk import LIMIT, Desk, now


def ledger(house: House, *command: str) -> str:
    program = Path(sys.executable).with_name("siprec-ledger")
    run = subprocess.run([program, *command], env=house.web.env, capture_output=True, text=True, timeout=30)
    assert run.returncode == 0, run.stderr
    return run.stdout


def listed(house: House) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ledger(house, "spool", "list").splitlines()]


def left_in(folder: Path, *entries: bytes) -> Path:
    dead = Spool(folder, LIMIT)
    dead.append(entries)
    dead.close()
    return dead.files(".spool")[-1]


def test_a_file_that_was_put_back_is_drained_while_everything_answers(
    build: Callable[..., House], database: Database
) -> None:
    house = build()
    folder = Path(house.web.env["SPOOL_DIR"])
    callback = Desk(database, None).callback()
    left_in(folder, spool_entry.pack(callback)).rename(folder / "put-back.spool")
    assert house.get("/v1/sessions").status_code == 200
    assert house.get("/readyz").status_code == 200
    wait_until(lambda: len(house.get("/v1/sessions").json()["sessions"]) == 1)
    wait_until(lambda: list(folder.glob("*.spool")) == [])


def test_dead_letters_are_listed_and_retried(build: Callable[..., House]) -> None:
    house = build()
    folder = Path(house.web.env["SPOOL_DIR"])
    answer = Notice(NoticeKind.ACCEPTED, received_at=now(), siprec_sid="sid-1")
    unknown = UnsavedAnswer(new_id(), 1, "v3:call-1", answer)
    left_in(folder, b"what is this", spool_entry.pack(unknown))
    damaged = left_in(folder, b"torn")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    wait_until(lambda: house.get("/readyz").json()["spool"]["dead_letters"] == 3)

    found = {letter["reason"].partition(":")[0]: letter for letter in listed(house)}
    assert set(found) == {"UnreadableEntry", "UnknownSession", "its end cannot be read"}
    assert found["UnreadableEntry"]["entry"] == "what is this"
    assert found["UnknownSession"]["entry"]["session_id"] == unknown.session_id
    assert found["UnknownSession"]["failed_at"] is not None

    house.web.stop()
    assert ledger(house, "spool", "retry") == "tried: 3, dead letters: 3, waiting: 0\n"
    assert len(listed(house)) == 3


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_without_a_spool_there_is_nothing_to_list_or_retry(build: Callable[..., House]) -> None:
    house = build(SPOOL="off")
    assert listed(house) == []
    program = Path(sys.executable).with_name("siprec-ledger")
    run = subprocess.run([program, "spool", "retry"], env=house.web.env, capture_output=True, timeout=30)
    assert run.returncode == 1
    assert b"there is no spool" in run.stderr


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_what_cannot_be_written_now_is_retried_by_the_service(
    build: Callable[..., House], database: Database
) -> None:
    house = build()
    left_in(Path(house.web.env["SPOOL_DIR"]), spool_entry.pack(Desk(database, None).callback()))
    with database.engine.connect() as busy:
        busy.exec_driver_sql("ROLLBACK")
        busy.exec_driver_sql("BEGIN EXCLUSIVE")
        assert ledger(house, "spool", "retry") == "tried: 0, dead letters: 0, waiting: 1\n"
        busy.exec_driver_sql("ROLLBACK")
    wait_until(lambda: len(house.get("/v1/sessions").json()["sessions"]) == 1)
