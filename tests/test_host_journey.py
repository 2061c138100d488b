"""Journey: a host dies with callbacks on its disk, while the database and Telnyx's API are away.

No verdict may say that a callback did not come while it lies there, unless it says that nobody knows.
"""

from __future__ import annotations

import json
import struct
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from sqlalchemy import select, text, update

from service.sandbox import Behaviour, Sandbox
from service.store import processes
from service.store.engine import Database
from service.store.watch_tables import due, spool
from tests.bed.address import Address
from tests.bed.postgres import Postgres
from tests.bed.processes import run_ledger
from tests.house import House, wait_until
from tests.test_overdue import ALL, overdue
from tests.test_overdue_deadlines import CLOSED, OPENED, explained, lines, of_type

# Long enough to start a session and lose the database before it has passed.
SETTINGS = {"OVERDUE_START_SECONDS": "8"}
MAGIC = b"siprec-ledger spool 1\n"
AT_MOST_SECONDS = 30


@pytest.fixture
def address(database_kind: str, request: pytest.FixtureRequest) -> Iterator[Address | None]:
    """By which all reach PostgreSQL."""
    if database_kind == "sqlite":
        yield None
        return
    server: Postgres = request.getfixturevalue("postgres")
    if not server.is_ours:
        pytest.skip("the server of TEST_DATABASE_URL has no socket that we know")
    with Address(server.socket) as made:
        yield made


class Hosts:
    """Two hosts, whose spools are in folders of their own. On SQLite one of them runs at a time."""

    def __init__(self, url: str, address: Address | None, sandbox: Sandbox, folder: Path) -> None:
        self._url = url
        self._address = address
        if address is not None:
            name = url.partition("?")[0].rpartition("/")[2]
            url = f"postgresql://postgres@127.0.0.1:{address.port}/{name}"
        self.database = Database(self._url)
        self.folder = folder / "spool of one"
        self.one = House(url, sandbox, 1, SPOOL_DIR=str(self.folder), **SETTINGS)
        self.other = House(url, sandbox, 1, SPOOL_DIR=str(folder / "spool of other"), **SETTINGS)
        self.one.web.start()
        if address is not None:
            self.other.web.start()
        # A host that dies before its first heartbeat, nobody knows of.
        wait_until(lambda: self._known() == (1 if address is None else 2))

    def _known(self) -> int:
        with self.database.read() as db:
            return len(db.execute(select(spool)).all())

    def close(self) -> None:
        for house in (self.one, self.other):
            house.close()
        self.database.close()

    @contextmanager
    def without_database(self) -> Iterator[None]:
        if self._address is not None:
            with self._address.refusing():
                yield
            return
        with self.database.begin():  # nobody else writes
            yield

    def other_is_there(self) -> None:
        if self._address is None:
            self.other.web.start()

    def one_comes_back(self) -> None:
        if self._address is None:
            self.other.web.stop()
        self.one.web.start()

    def spooled(self) -> set[str]:
        """The sids of which callbacks lie on the disk of `one`; read without the service's help."""
        found = set()
        for path in self.folder.glob("*.spool"):
            content = path.read_bytes().removeprefix(MAGIC)
            while content:
                length, _ = struct.unpack_from(">II", content)
                entry = json.loads(content[8 : 8 + length])
                found |= set(parse_qs(b64decode(entry["body"]).decode())["SiprecSid"])
                content = content[8 + length :]
        return found

    def verdicts(self) -> dict[str, str]:
        """sid -> why it is overdue, of those that are."""
        query = (
            "SELECT answer_siprec_sid, overdue_why FROM session JOIN session_watch ON session_id = id "
            "WHERE overdue_why IS NOT NULL"
        )
        with self.database.read() as db:
            return {row[0]: row[1] for row in db.execute(text(query))}

    def age(self, seconds: float) -> str:
        """As if `one` had not been seen for so long, and it were time to look again. Its name."""
        id = (self.folder / "spool.id").read_text().strip()
        with self.database.begin() as db:
            now = processes.now_of(db)
            long_ago = update(spool).where(spool.c.id == id).values(seen_at=now - timedelta(seconds=seconds))
            name = str(db.scalar(long_ago.returning(spool.c.host)))
            db.execute(update(due).values(next_at=now))
        return name

    def look_again(self) -> None:
        with self.database.begin() as db:
            db.execute(update(due).values(next_at=processes.now_of(db)))


@pytest.fixture
def hosts(database_url: str, address: Address | None, sandbox: Sandbox, tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(database_url, address, sandbox, tmp_path)
    yield made
    made.close()


def watch_until_overdue(hosts: Hosts, wanted: set[str]) -> dict[str, str]:
    """The verdicts once there is one of each; none of what lies on the disk may say that it did not come."""
    give_up = time.monotonic() + AT_MOST_SECONDS
    while True:
        verdicts = hosts.verdicts()
        wrong = {sid: verdicts[sid] for sid in hosts.spooled() & verdicts.keys()}
        assert all(why.startswith("unknown: ") for why in wrong.values()), wrong
        if wanted <= verdicts.keys():
            return verdicts
        assert time.monotonic() < give_up, f"{verdicts}\n{hosts.other.web.log[-3000:]}"
        time.sleep(0.02)


# Each end on one kind of database: tests/store/test_blindness.py has both on both.
@pytest.mark.parametrize(
    ("database_kind", "end"),
    [("sqlite", "is not seen for ten minutes"), ("postgresql", "is retired")],
    indirect=["database_kind"],
)
def test_what_lies_on_the_disk_of_a_host_that_died_is_unknown_until_it_is_given_up(
    hosts: Hosts, sandbox: Sandbox, end: str
) -> None:
    one, other = hosts.one, hosts.other
    sandbox.behave(Behaviour(drop=ALL))
    session: dict[str, Any] = one.start("v3:call-1").json()
    without_callback: dict[str, Any] = one.start("v3:call-2").json()
    sid = session["siprec_sid"]
    with hosts.without_database():
        assert sandbox.send(sid, "siprec-started", Behaviour()).status == 200
        sandbox.stop()
        one.web.kill_master()
    assert hosts.spooled() == {sid}
    hosts.other_is_there()

    unknown = watch_until_overdue(hosts, {sid, without_callback["siprec_sid"]})
    name = hosts.age(16)
    for why in unknown.values():  # nobody else knows of which of them there are callbacks
        assert why.startswith(f"unknown: callbacks may still wait on host {name}; ")
    opened = of_type(lines(other, session["id"], OPENED), OPENED)
    text, positions = explained(other, session["id"])
    assert "nothing follows yet" in text
    assert opened["position"] in positions
    watch_until_overdue(hosts, {sid})

    if end == "is retired":
        said = run_ledger({"DATABASE_URL": other.web.env["DATABASE_URL"]}, "hosts", "retire", name)
        assert said.startswith(f"retired: {name}, ")
        hosts.look_again()
    else:
        hosts.age(601)
    decided = overdue(other, session["id"], "not_started", f"host {name} was not seen since ")
    assert not decided["overdue"]["why"].startswith("unknown")
    assert hosts.spooled() == {sid}

    hosts.one_comes_back()
    late = overdue(one, session["id"], None)
    assert late["state"] == "started"
    wait_until(lambda: hosts.spooled() == set())
    closed = of_type(lines(one, session["id"], CLOSED), CLOSED)
    assert closed["changes"]["overdue"][0]["why"] == decided["overdue"]["why"]
    assert closed["position"] in explained(one, session["id"])[1]
