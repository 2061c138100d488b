"""Two processes watch the same database, one is killed in the middle: all is decided, nothing twice."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta

import pytest
from sqlalchemy import text

from service.store.engine import Database
from tests.bed.processes import CHECKOUT, environment
from tests.ledger.tower import Tower, answered, ordered

COUNT = 300
WATCHES = """
import sys
from service.domain.deadlines import Limits
from service.ledger import watch_pace
from service.ledger.watch import Watch
from service.store.engine import Database
from tests.ledger.tower import Permits

watch_pace.FEWEST = watch_pace.MOST = 5
one = Watch(Database(sys.argv[1]), Limits(), Permits())
print("ready", flush=True)
while True:
    if (decided := one.decide()).looked_at:
        print(decided.looked_at, flush=True)
"""


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_nothing_is_decided_twice(database: Database, database_url: str) -> None:
    tower = Tower(database)
    answered(database, ordered(database, COUNT))
    tower.follow()
    command = [sys.executable, "-c", WATCHES, database_url]
    watches = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT, env=environment({}))
        for _ in range(2)
    ]
    try:
        for watch in watches:
            assert watch.stdout is not None
            assert watch.stdout.readline() == "ready\n"
        tower.pass_time(timedelta(seconds=20))
        assert watches[0].stdout is not None
        watches[0].stdout.readline()  # it is at it
        watches[0].kill()
        give_up = time.monotonic() + 30
        while overdue(database) < COUNT and time.monotonic() < give_up:
            time.sleep(0.05)
    finally:
        for watch in watches:
            watch.kill()
            watch.communicate()
    with database.read() as db:
        lines = "SELECT subject_id FROM event WHERE kind = 'overdue'"
        found = [row.subject_id for row in db.execute(text(lines))]
    assert len(found) == len(set(found)) == COUNT == overdue(database)


def overdue(database: Database) -> int:
    with database.read() as db:
        return int(db.scalar(text("SELECT count(*) FROM session_watch WHERE overdue_kind IS NOT NULL")) or 0)
