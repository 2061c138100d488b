"""A ledger that is put back to an earlier state tells those who read it, all the while or later."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from service import cli
from service.commands import follow
from service.sandbox import EVENTS, Behaviour, Sandbox
from service.store.engine import Database
from tests.bed import postgres as bed
from tests.bed.postgres import Postgres
from tests.house import House, wait_until
from tests.ledger.lines import number_all
from tests.test_follow import following

PutBack = Callable[[], None]


def copy_sqlite(house: House, database_url: str, folder: Path) -> PutBack:
    """As the manual says it, while the service runs."""
    live, copy = Path(database_url.removeprefix("sqlite:///")), folder / "the copy"
    made = CliRunner().invoke(cli.main, ["db", "backup", str(copy)], env={"DATABASE_URL": database_url})
    assert made.exit_code == 0, made.output

    def put_back() -> None:
        for name in (live.name, f"{live.name}-wal", f"{live.name}-shm"):
            live.with_name(name).unlink(missing_ok=True)
        shutil.copy(copy, live)

    return put_back


def copy_postgresql(house: House, database_url: str, server: Postgres) -> PutBack:
    """Of a moment without the service, because the server copies only what nobody is connected to."""
    house.web.stop()
    copy = server.create_database(template=database_url)
    house.web.start()

    def put_back() -> None:
        names = [bed._name(url) for url in (database_url, copy)]
        server.drop_database(database_url)
        server._administer("CREATE DATABASE {} TEMPLATE {}", *names)

    return put_back


@pytest.mark.parametrize("has_grown", [False, True], ids=["shorter", "grown past the reader"])
def test_a_restore_under_a_running_reader_ends_in_the_409(
    house: House,
    sandbox: Sandbox,
    database_url: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    has_grown: bool,
) -> None:
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    house.database.close()

    def start(name: str, count: int) -> list[dict[str, Any]]:
        """The whole feed, once there are so many sessions more; each is created and accepted."""
        for number in range(count):
            assert house.start(f"v3:{name}-{number}").status_code == 201
        with closing(Database(database_url)) as database:
            number_all(database)
        events: list[dict[str, Any]] = house.get("/v1/events").json()["events"]
        return events

    copied = start("copied", 2)
    if database_url.startswith("sqlite"):
        put_back = copy_sqlite(house, database_url, tmp_path)
    else:
        put_back = copy_postgresql(house, database_url, request.getfixturevalue("postgres"))
    gone = start("gone", 2)
    with following(tmp_path, house, "--json", "--after", "start") as follower:
        wait_until(lambda: len(follower.lines) == len(gone) == 8, why=lambda: follower.errors)
        follower.program.send_signal(signal.SIGSTOP)
        house.web.stop()
        put_back()
        house.web.start()
        new = start("new", 4 if has_grown else 1)
        assert new[:4] == copied
        assert (len(new) > len(gone)) is has_grown
        follower.program.send_signal(signal.SIGCONT)
        assert follower.ended() == follow.RESTORED, follower.errors
        assert "409 Ledger was put back to an earlier state" in follower.errors
        assert new[-1]["id"] in follower.errors  # where it ends now
        assert [json.loads(line) for line in follower.lines] == gone
    answer = house.get("/v1/events", after=gone[-1]["id"])
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:siprec-ledger:problem:ledger-restored")
    # Whoever had read no more than there is goes on, and misses nothing.
    assert house.get("/v1/events", after=copied[-1]["id"]).json()["events"] == new[4:]
