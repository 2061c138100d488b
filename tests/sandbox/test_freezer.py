"""A frozen database can be read, and not be written to, for a while at most."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from service.sandbox import freezer
from service.sandbox.freezer import CannotFreeze, Freezer
from tests.house import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite3"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE line (number INTEGER)")
    return path


@pytest.fixture
def frozen(path: Path) -> Iterator[Freezer]:
    made = Freezer(path)
    made.freeze()
    yield made
    made.thaw()


def write(path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=0.1, isolation_level=None)) as db:
        db.execute("INSERT INTO line VALUES (1)")


def count(path: Path) -> int:
    with closing(sqlite3.connect(path, timeout=0.1)) as db:
        return int(db.execute("SELECT count(*) FROM line").fetchone()[0])


def test_it_is_read_and_not_written_to_until_it_thaws(path: Path, frozen: Freezer) -> None:
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        write(path)
    assert count(path) == 0
    frozen.thaw()
    assert not frozen.is_frozen
    write(path)
    assert count(path) == 1


def test_to_freeze_or_thaw_twice_is_to_do_so_once(path: Path, frozen: Freezer) -> None:
    frozen.freeze()
    frozen.thaw()
    frozen.thaw()
    write(path)


def test_it_thaws_by_itself(path: Path) -> None:
    made = Freezer(path, longest_seconds=0.2)
    made.freeze()
    wait_until(lambda: not made.is_frozen)
    write(path)


def test_who_gets_no_lock_says_so(path: Path, frozen: Freezer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezer, "BUSY_SECONDS", 0.1)
    other = Freezer(path)
    with pytest.raises(CannotFreeze):
        other.freeze()
    assert not other.is_frozen
