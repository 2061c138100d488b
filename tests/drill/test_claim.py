"""Which databases a drill may fill with inventions."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.domain.ids import new_id
from service.domain.session import Origin, Session
from service.domain.start import Order
from service.store import keys, sessions
from service.store.engine import Database
from service.store.sessions import IdempotencyKey
from tests.bed.postgres import Postgres
from tests.drill.ledger import NotForDrills
from tests.drill.postgresql import Postgresql
from tests.drill.sqlite import Sqlite
from tests.house import migrate


def claim(url: str) -> None:
    if url.startswith("sqlite:///"):
        Sqlite(Path(url.removeprefix("sqlite:///"))).claim()
        return
    with closing(Postgresql.lent(url)) as ledger:
        ledger.claim()


@pytest.fixture
def empty_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if database_kind == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.create_database()


def start_session(url: str, call_sid: str) -> None:
    now = datetime.now(UTC)
    database = Database(url)
    with database.begin() as db:
        keys.create(db, call_sid, now)
        key_id = keys.listed(db)[-1].id
        new = Session(new_id(), Origin.API, Order("account-1", call_sid), now, now)
        sessions.insert(db, new, IdempotencyKey(key_id))
    database.close()


def test_an_empty_database_may_be_used_again_and_again(empty_url: str, tmp_path: Path) -> None:
    claim(empty_url)
    migrate(empty_url)
    start_session(empty_url, "v3:drill-1")
    claim(empty_url)


def test_a_ledger_is_never_touched_though_nothing_is_in_it(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(NotForDrills, match="not empty"):
        claim(database_url)


def test_a_drills_ledger_that_became_a_real_one_is_never_touched(empty_url: str, tmp_path: Path) -> None:
    claim(empty_url)
    migrate(empty_url)
    start_session(empty_url, "v3:9X2vxPDhtnLZxvK3Ab")
    with pytest.raises(NotForDrills, match="no drill has started"):
        claim(empty_url)


def test_a_file_that_is_no_database_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("not a database, and longer than a header is " * 9)
    with pytest.raises(NotForDrills, match="cannot be used"):
        claim(f"sqlite:///{tmp_path / 'notes'}")
    assert (tmp_path / "notes").read_text().startswith("not a database")
