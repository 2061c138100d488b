"""What the watch costs by itself: when very many sessions are due at once, and when none is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from service.domain.deadlines import Limits
from service.domain.overdue import Call
from service.ledger.watch import Watch
from service.store import schema
from service.store.engine import Database
from service.store.tables import event
from service.workers import garbage
from service.workers.asking import Asking, Budget
from service.workers.overdue import Overdue
from tests.bench import bulk, overdue
from tests.bench.contestants import PinnedPostgres
from tests.bench.data import Made
from tests.bench.figures import KINDS, POSTGRESQL, SQLITE
from tests.bench.machine import SERVER_CORE, on_core

PASSES = 50  # in a round


@dataclass(frozen=True)
class Cost:
    """`values` are round by round; their median must be within `must`."""

    kind: str
    what: str
    unit: str
    values: Sequence[float]
    must: float

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def is_rate(self) -> bool:
        """The more, the better."""
        return self.unit.endswith("/s")


class TimedDatabase(Database):
    """Remembers for how long at most a transaction that writes was open.

    On SQLite a commit may copy the WAL's pages into the file afterwards: its lock is free by then, so that is
    left for later.
    """

    longest = 0.0

    @contextmanager
    def begin(self, deadline: float | None = None, *, is_probe: bool = False) -> Iterator[Connection]:
        began = float("inf")
        try:
            with super().begin(deadline, is_probe=is_probe) as db:
                if self.is_sqlite:
                    db.exec_driver_sql("PRAGMA wal_autocheckpoint=0")
                began = time.perf_counter()
                yield db
        finally:
            self.longest = max(self.longest, time.perf_counter() - began)


def run(folder: Path, sessions: tuple[int, int], rounds: int, due: int = overdue.DUE) -> Iterator[Cost]:
    """`sessions`: few, and many; so many are `due` at once."""
    with PinnedPostgres() as server:
        for kind in KINDS:
            for count in sessions:
                with _database(server, folder, kind) as database, on_core(SERVER_CORE):
                    with bulk.filling(database) as filled:
                        Made(count).fill(filled)
                        overdue.fill(filled, count)
                    _see_all(database)
                    yield Cost(
                        kind,
                        f"a pass, nothing is due, {count:,} sessions",
                        "ms",
                        _passes(database, rounds),
                        5,
                    )
            with _database(server, folder, kind) as database, on_core(SERVER_CORE):
                with bulk.filling(database) as filled:
                    overdue.fill(filled, due)
                rates, holds = zip(*(_work_off(database, due) for _ in range(rounds)), strict=True)
                yield Cost(kind, f"{due:,} due at once", "sessions/s", rates, 2000)
                if kind == SQLITE:
                    yield Cost(kind, "longest hold of the write lock", "ms", holds, 20)


@contextmanager
def _database(server: PinnedPostgres, folder: Path, kind: str) -> Iterator[TimedDatabase]:
    file = folder / "watch.sqlite3"
    database = TimedDatabase(server.create_database() if kind == POSTGRESQL else f"sqlite:///{file}")
    with closing(database):
        schema.upgrade(database)
        yield database
    for one in folder.glob("watch.sqlite3*"):
        one.unlink()


def _watch(database: Database) -> tuple[Watch, Overdue]:
    """As it is wired; Telnyx is not asked."""
    asking = Asking(_ask, lambda _account: False, Budget(1), is_on=False)
    watch = Watch(database, Limits(), asking)
    return watch, Overdue(database, watch, asking, lambda: False, lambda: False, lambda: True)


def _ask(account_sid: str, call_sid: str) -> Call:
    raise AssertionError(f"{account_sid}: {call_sid} is asked for")


def _see_all(database: Database) -> None:
    with database.begin() as db:
        db.exec_driver_sql(f"UPDATE watch SET position = (SELECT max(position) FROM {event.name})")


def _passes(database: Database, rounds: int) -> list[float]:
    watch, _ = _watch(database)
    watch.work()
    return [statistics.median(_pass(watch) for _ in range(PASSES)) for _ in range(rounds)]


def _pass(watch: Watch) -> float:
    began = time.perf_counter()
    if watch.work() != (False, False):
        raise AssertionError("there is something to do")
    return (time.perf_counter() - began) * 1000


def _work_off(database: TimedDatabase, count: int) -> tuple[float, float]:
    """How many a second, and the longest transaction in milliseconds."""
    overdue.make_due(database)
    garbage.leave_out_all_so_far()  # as the service does; and it collects while no callback waits
    _, worker = _watch(database)
    database.longest, began = 0.0, time.perf_counter()
    while overdue.decided(database) < count:
        worker.run_once(datetime.now(UTC))
    return count / (time.perf_counter() - began), database.longest * 1000
