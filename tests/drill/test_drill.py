"""The drill itself: it finds nothing in the service, and a loss where there is one."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.bed.postgres import Postgres
from tests.drill.conftest import Drill

COLUMNS = ("sent", "meanwhile", "answered", "stored", "lost", "not_shown", "twice", "wrong")


def totals(said: str) -> dict[str, int]:
    """The table's last row."""
    found = re.search(r"^total" + r" +(\d+)" * len(COLUMNS), said, re.MULTILINE)
    assert found, said
    return dict(zip(COLUMNS, map(int, found.groups()), strict=True))


def assert_clean(done: subprocess.CompletedProcess[str], least: int) -> None:
    assert done.returncode == 0, done.stdout
    counted = totals(done.stdout)
    assert [counted[name] for name in ("lost", "not_shown", "twice", "wrong")] == [0, 0, 0, 0]
    assert counted["sent"] >= counted["stored"] >= counted["answered"] >= least


def test_a_ledger_in_sqlite_keeps_what_it_answered(drill: Drill, scratch: Path) -> None:
    done = drill("--callbacks", "600", "--faults", "worker-killed,killed-meanwhile,disk-full")
    assert_clean(done, least=200)
    assert list(scratch.iterdir()) == []


def test_a_ledger_in_postgresql_keeps_what_it_answered(drill: Drill, scratch: Path) -> None:
    done = drill("--callbacks", "600", "--faults", "database-stopped,commits-late", "--postgresql")
    assert_clean(done, least=200)
    assert list(scratch.iterdir()) == []


def test_what_was_answered_while_the_address_led_to_a_standby_is_shown(drill: Drill, scratch: Path) -> None:
    done = drill("--callbacks", "200", "--faults", "on-standby-10,primary-woken-async-10", "--postgresql")
    assert_clean(done, least=100)
    assert list(scratch.iterdir()) == []


def test_dead_letters_are_shown_once_they_are_retried(drill: Drill) -> None:
    assert_clean(drill("--callbacks", "300", "--faults", "dead-letters"), least=100)


def test_slow_clients_and_forgers_are_in_nobodys_way(drill: Drill) -> None:
    assert_clean(drill("--callbacks", "300", "--faults", "slow-clients,forgeries"), least=500)


def test_who_waits_at_a_sigterm_is_answered(drill: Drill) -> None:
    done = drill("--callbacks", "300", "--faults", "sigterm")
    assert_clean(done, least=100)


def test_an_empty_database_can_be_lent(drill: Drill, postgres: Postgres) -> None:
    url = postgres.create_database()
    done = drill("--callbacks", "200", "--faults", "connections-cut", "--database-url", url)
    assert_clean(done, least=50)


SABOTAGES = {
    "answers_before_it_is_durable": (("--faults", "worker-killed"), "lost", "answered 200 and lost, "),
    # On a standby the drain is told so before it tries an entry; that a grant is missing, only by trying.
    "buries_instead_of_waiting": (
        ("--faults", "grant-taken", "--postgresql"),
        "not_shown",
        "answered 200 and left on the disk, ",
    ),
    "takes_the_earliest_sid": (("--faults", "nothing"), "wrong", ": state is "),
}


@pytest.mark.parametrize(("name", "expected"), SABOTAGES.items(), ids=list(SABOTAGES))
def test_a_broken_rule_is_found_out(
    drill: Drill, name: str, expected: tuple[tuple[str, ...], str, str]
) -> None:
    options, column, said = expected
    done = drill("--callbacks", "600", "--seed", "1", *options, "--app", f"tests.drill.sabotage:{name}()")
    assert done.returncode == 1, done.stdout
    assert totals(done.stdout)[column] > 0
    assert said in done.stdout
    assert "are left in" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_drill_that_is_ended(
    begin: Callable[..., subprocess.Popen[str]], scratch: Path, number: signal.Signals
) -> None:
    program = begin("--callbacks", "200", "--faults", "nothing")
    family = _family_with_a_worker(program.pid)
    program.send_signal(number)
    program.communicate(timeout=60)
    assert psutil.wait_procs(family, timeout=30)[1] == []
    _wait_until_empty(scratch)


def test_a_fault_that_does_not_exist_is_named(drill: Drill) -> None:
    done = drill("--faults", "worker-killed,plague")
    assert done.returncode == 2
    assert "plague: no such fault; there are nothing, worker-killed, " in done.stdout


def _family_with_a_worker(pid: int) -> list[psutil.Process]:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        family = psutil.Process(pid).children(recursive=True)
        if sum(_is_gunicorn(one) for one in family) > 1:
            return family
        time.sleep(0.05)
    raise AssertionError("the service did not start")


def _is_gunicorn(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return "gunicorn" in " ".join(process.cmdline())
    return False


def _wait_until_empty(folder: Path) -> None:
    give_up = time.monotonic() + 30
    while left := list(folder.iterdir()):
        assert time.monotonic() < give_up, left
        time.sleep(0.05)
