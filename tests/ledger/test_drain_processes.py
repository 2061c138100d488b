"""Several processes drain what some of them left."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from service.ledger import spool_entry
from service.spool import Spool
from tests.bed.web import CHECKOUT
from tests.house import wait_until
from tests.ledger.desk import LIMIT, Desk, again
from tests.ledger.draining import rounds, spooled

# Several processes

DRAINS = """
import sys, time
from pathlib import Path
from service.store.engine import Database
from tests.ledger.desk import Desk, now

desk = Desk(Database(sys.argv[1], 5), Path(sys.argv[2]))
print("ready", flush=True)
while True:
    desk.worker.run_once(now())
    time.sleep(0.01)
"""


def drainer(url: str, folder: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", DRAINS, url, str(folder)],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    return process


def test_a_newcomer_and_the_living_drain_what_dead_processes_left(
    database_url: str, desk: Desk, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    for number in range(10):
        left = Spool(folder, LIMIT)
        left.append([spool_entry.pack(desk.callback(Number=f"{number}-{n}")) for n in range(20)])
        left.close()
    drainers = [drainer(database_url, folder) for _ in range(2)]
    try:
        wait_until(desk.is_drained)
    finally:
        for process in drainers:
            _kill(process)
    assert desk.deliveries() == {"siprec-started": 200}


def test_a_drain_that_is_killed_again_and_again_counts_nothing_twice(
    database_url: str, desk: Desk, tmp_path: Path
) -> None:
    folder, dice = tmp_path / "spool", random.Random(1)
    callbacks = desk.callbacks(300)
    for start in range(0, 300, 100):
        spooled(desk, *callbacks[start : start + 100], *again(callbacks[start], 5))
        desk.backlog.close()
    for _ in range(6):
        process = drainer(database_url, folder)
        time.sleep(dice.random() * 0.2)
        _kill(process)
    rounds(desk, 3)
    assert desk.is_drained()
    assert desk.deliveries() == {"siprec-started": 315}


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()
