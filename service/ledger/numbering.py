"""Committed events get their positions."""

from __future__ import annotations

import time
from typing import Final

from sqlalchemy import Connection

from service.store import numbering
from service.store.engine import Database
from service.store.numbering import Unnumbered

WRITE_SECONDS: Final = 5.0  # more than the server gives a statement


class NothingGiven(Exception):
    """Undoes a transaction that has written nothing: its commit would say that the database takes writes."""

    def __init__(self, waiting: Unnumbered) -> None:
        super().__init__()
        self.waiting = waiting


def number(database: Database) -> tuple[int, Unnumbered]:
    """How many were given a position, and which have none still.

    Those are somebody else's to number, who is at it, or too many for one transaction. Raises DatabaseError.
    """
    if database.is_sqlite:  # to look, one needs no write lock
        with database.read() as db:
            waiting = numbering.unnumbered(db)
        if not waiting.count:
            return 0, waiting
    try:
        with database.begin(time.monotonic() + WRITE_SECONDS) as db:
            return _number(db)
    except NothingGiven as nothing:
        return 0, nothing.waiting


def _number(db: Connection) -> tuple[int, Unnumbered]:
    """Raises NothingGiven."""
    numbering.prepare(db)
    waiting = numbering.unnumbered(db)
    given = numbering.number(db) if waiting.count and numbering.take_turn(db) else 0
    if not given:
        raise NothingGiven(waiting)
    return given, waiting if given < waiting.count else Unnumbered()
