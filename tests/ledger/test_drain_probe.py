"""The one who finds out that the database is back."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.store.engine import DatabaseUnavailable
from tests.house import wait_until
from tests.ledger.desk import Desk, lose, now
from tests.ledger.draining import failing, spooled


def test_in_silence_the_heartbeat_is_the_probe(desk: Desk) -> None:
    desk.worker.run_once(now())
    lose(desk.database, "it was gone")
    wait_until(lambda: _is_probed(desk), seconds=2)


def test_the_oldest_that_waits_is_the_probe_and_nothing_else_is_tried(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat that goes through must not call back a database that takes no callbacks."""
    spooled(desk, *desk.callbacks(3))
    lose(desk.database, "no grant on callback")
    with failing(desk, lambda _: DatabaseUnavailable("permission denied"), monkeypatch) as sizes:
        wait_until(lambda: _fails(desk), seconds=2)
        assert not desk.database.breaker.takes_writes
        desk.worker.run_once(now())  # too early for the next probe
        assert sizes == [3]
    wait_until(lambda: _is_probed(desk))
    assert desk.deliveries() == {"siprec-started": 3}


def _fails(desk: Desk) -> bool:
    with suppress(DatabaseUnavailable):
        desk.worker.run_once(now())
        return False
    return True


def _is_probed(desk: Desk) -> bool:
    desk.worker.run_once(now())
    return desk.database.breaker.takes_writes


def test_while_the_spool_cannot_be_read_the_heartbeat_is_the_probe(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled(desk, desk.callback())
    lose(desk.database, "it was gone")

    def fail(_folder: Path) -> Iterator[Path]:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", fail)
        wait_until(lambda: _is_probed(desk), seconds=2)
    desk.worker.run_once(now())
    assert desk.deliveries() == {"siprec-started": 1}


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_while_the_disk_hangs_in_a_write_the_database_is_still_probed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, fsync = threading.Event(), os.fsync
    spooled(desk, desk.callback())
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda file: (hangs.wait(20), fsync(file)))
        spooler = threading.Thread(target=spooled, args=(desk, desk.callback()))
        spooler.start()
        worker = threading.Thread(target=_probe_twice, args=(desk,))
        worker.start()
        worker.join(8)
        is_stuck = worker.is_alive()
        hangs.set()
        spooler.join()
        worker.join()
    assert not is_stuck


def _probe_twice(desk: Desk) -> None:
    for _ in range(2):
        lose(desk.database, "it was gone")
        wait_until(lambda: _is_probed(desk), seconds=6)
