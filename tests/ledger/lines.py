"""Events for tests of their numbering: written as the ledger does, or by a process of its own."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from service.domain.ids import new_id
from service.domain.state import State
from service.ledger.numbering import number
from service.store import events
from service.store.batch import Batch
from service.store.engine import Database, DatabaseUnavailable
from service.store.events import Change, EventKind
from service.store.tables import event
from service.workers.numbering import Numbering
from service.workers.runner import Runner

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Line:
    position: int | None
    sequence: int
    subject_id: str
    numbered_at: datetime | None


def change(session_id: str) -> Change:
    return Change(
        session_id=session_id,
        kind=EventKind.CHANGED,
        actor="test",
        facts={"state": (State.ACCEPTED, State.STARTED)},
        state=State.STARTED,
        account_sid="account-1",
        siprec_sid=None,
        happened_at=NOON,
    )


def write(db: Connection, *session_ids: str) -> None:
    """An event of each, in this order."""
    batch = Batch(db)
    events.add(batch, [change(session_id) for session_id in session_ids], datetime.now(UTC))
    batch.write()


def write_as_before(db: Connection, *session_ids: str) -> None:
    """As the release before positions did it."""
    batch = Batch(db)
    now = datetime.now(UTC)
    batch.add(event, [events._row(change(session_id), now) for session_id in session_ids])
    batch.write()


def add(database: Database, *session_ids: str) -> None:
    with database.begin() as db:
        write(db, *session_ids)


def number_all(database: Database) -> None:
    while number(database)[1].count:
        time.sleep(0.01)


def page(database: Database, after: int, limit: int = 500) -> Sequence[Line]:
    """As an app reads on."""
    columns = (event.c.position, event.c.sequence, event.c.subject_id, event.c.numbered_at)
    query = select(*columns).where(event.c.position > after).order_by(event.c.position).limit(limit)
    with database.read() as db:
        return [Line(*row) for row in db.execute(query)]


def everything(database: Database) -> list[Line]:
    """In the order of sequences."""
    columns = (event.c.position, event.c.sequence, event.c.subject_id, event.c.numbered_at)
    with database.read() as db:
        return [Line(*row) for row in db.execute(select(*columns).order_by(event.c.sequence))]


# A process that writes, and numbers as the service does


class Undone(Exception):
    """A transaction that is not committed, though it has drawn its sequences."""


def _write_many(database: Database, count: int, seed: int, numberer: Runner) -> None:
    """In transactions of which some are long, and some are undone."""
    dice, session_id = random.Random(seed), new_id()
    while count > 0:
        some = min(count, dice.randint(1, 3))
        try:
            with database.begin(is_probe=not database.breaker.takes_writes) as db:
                write(db, *[session_id] * some)
                _take_time(database, dice)
        except DatabaseUnavailable:
            time.sleep(0.05)
        except Undone:
            pass
        else:
            count -= some
            numberer.wake()


def _take_time(database: Database, dice: random.Random) -> None:
    """Before the commit; on SQLite all others wait meanwhile."""
    if not database.is_sqlite:
        time.sleep(0.4 if dice.random() < 0.02 else dice.random() * 0.005)
    if dice.random() < 0.05:
        raise Undone


def main() -> None:
    url, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    threads = int(sys.argv[4])
    database = Database(url)
    numberer = Runner("numbering", Numbering(database).run_once, 0.25, lambda: datetime.now(UTC), 0.05)
    print("ready", flush=True)
    sys.stdin.readline()
    numberer.start()
    with ThreadPoolExecutor(threads) as pool:
        writing = [
            pool.submit(_write_many, database, count // threads, seed * threads + number, numberer)
            for number in range(threads)
        ]
        for one in writing:
            one.result()
    numberer.end()
    numberer.join(5)


if __name__ == "__main__":
    main()
