"""How tests make the drain fail, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
from sqlalchemy import Connection

from service.domain.callback import Callback
from service.ledger import ingest
from service.store.engine import DatabaseConflict, DatabaseUnavailable
from tests.ledger.desk import Desk, lose

Fails = Callable[[list[Callback]], Exception | None]


@contextmanager
def failing(desk: Desk, fails: Fails, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """`fails` tells what a batch ends with, after which the database is left, as the engine does it.

    Yields the sizes of the batches that were tried.
    """
    write, sizes = ingest.write, []

    def stand_before(db: Connection, batch: list[Callback], now: datetime) -> object:
        sizes.append(len(batch))
        error = fails(batch)
        if isinstance(error, DatabaseUnavailable) and not isinstance(error, DatabaseConflict):
            lose(desk.database, str(error))
        if error:
            raise error
        return write(db, batch, now)

    with monkeypatch.context() as patched:
        patched.setattr(ingest, "write", stand_before)
        yield sizes


def rounds(desk: Desk, count: int) -> None:
    """Of the drain, as its worker makes them, without the pauses; at most so many."""
    for _ in range(count):
        if not desk.backlog.is_waiting:
            return
        try:
            desk.drain.run(may_probe=True)
        except Exception:
            continue


def spooled(desk: Desk, *callbacks: Callback) -> None:
    desk.backlog.save(callbacks)


def dead(desk: Desk) -> set[str]:
    """The delivery ids of dead letters."""
    found = (letter.entry for letter in desk.backlog.dead_letters())
    return {entry.delivery.id for entry in found if isinstance(entry, Callback)}
