"""The list of hosts, and the commands that show and retire them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, update

from service.cli import main
from service.store import hosts, processes
from service.store.engine import Database
from service.store.tables import event, process
from service.store.watch_tables import spool
from tests.store.test_blindness import beat, seconds, since

Run = Callable[..., Result]


@pytest.fixture
def run(database_url: str, database: Database) -> Run:
    def command(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["hosts", *arguments, "--database-url", database_url])

    return command


def events(database: Database) -> list[tuple[str, str, str, str]]:
    with database.read() as db:
        query = select(event.c.subject_kind, event.c.subject_id, event.c.kind, event.c.actor)
        return [(row[0], row[1], row[2], row[3]) for row in db.execute(query)]


def test_a_host_adds_up_over_its_spools_and_processes(database: Database) -> None:
    beat(database, "a", entries=2, ago=5, id="one")
    beat(database, "a", entries=3, id="two")
    with database.begin() as db:
        for id in ("dead", "alive", "alive too"):
            processes.beat(db, id, "a", None, None)
        processes.beat(db, "without a spool", "c", None, None)
        then = processes.now_of(db) - seconds(20)
        db.execute(update(process).where(process.c.id == "dead").values(alive_at=then))
    with database.read() as db:
        first, last = hosts.all(db)
    assert (first.name, first.processes, first.entries, first.retired_at) == ("a", 2, 5, None)
    assert (last.name, last.processes, last.seen_at, last.entries) == ("c", 1, None, 0)


def test_the_command_lists_a_line_for_each(run: Run, database: Database) -> None:
    beat(database, "b", entries=1)
    beat(database, "a")
    result = run("list")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert [(line["host"], line["entries"], line["retired_at"]) for line in lines] == [
        ("a", 0, None),
        ("b", 1, None),
    ]


def test_a_host_is_retired_with_an_event_and_comes_back_by_itself(run: Run, database: Database) -> None:
    beat(database, "b", entries=4, ago=60)
    result = run("retire", "b")
    assert (result.exit_code, "retired: b, seen last at" in result.output) == (0, True)
    assert "waited there then: 4" in result.output
    assert events(database) == [("host", "b", "retired", "operator")]
    blind = since(database, 30)
    assert blind is not None
    assert blind.is_decided

    again = run("retire", "b")
    assert (again.exit_code, again.output) == (0, "was retired already: b\n")
    assert len(events(database)) == 1

    beat(database, "b", entries=4)
    with database.read() as db:
        assert db.execute(select(spool.c.retired_at)).scalar_one() is None
    blind = since(database, 30)
    assert blind is not None
    assert not blind.is_decided


def test_neither_an_unknown_host_nor_one_that_is_alive_is_retired(run: Run, database: Database) -> None:
    beat(database, "b")
    for name, words in (("b", "b is alive, seen at"), ("c", "no host of this name has a spool: c")):
        result = run("retire", name)
        assert (result.exit_code, words in result.output) == (1, True)
    assert events(database) == []
