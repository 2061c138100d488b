"""What a canary tries is durable, writes nothing, and says what could not be done."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from service.ledger.backlog import Backlog
from service.ledger.canary import Tried, try_durability
from service.spool import Spool
from service.store.engine import Database

LIMIT = 1024 * 1024


def test_both_are_tried_and_nothing_is_left(database: Database, tmp_path: Path) -> None:
    tried = try_durability(database, Backlog(Spool(tmp_path / "spool", LIMIT)))
    assert tried.database.seconds is not None
    assert tried.spool.seconds is not None
    assert list((tmp_path / "spool").iterdir()) == []


def test_where_there_is_no_spool_none_is_tried(database: Database) -> None:
    assert try_durability(database, Backlog(None)).spool == Tried(None, None)


def test_what_fails_is_named_without_its_words(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with closing(Database("postgresql://postgres@/ledger?host=/nowhere")) as database:
        tried = try_durability(database, Backlog(Spool(tmp_path / "spool", LIMIT)))
    assert tried.database == Tried(None, "DatabaseUnavailable")
    assert tried.spool == Tried(None, "SpoolUnusable")
