"""What a database holds, in a few numbers, to compare a copy with the ledger that it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Table, func, select

from service.store import schema
from service.store.schema import Age
from service.store.tables import callback, event, session


@dataclass(frozen=True)
class Contents:
    """`age` is the schema's, against this code's; without a schema there is nothing to count."""

    age: Age
    revision: str | None
    sessions: int = 0
    callbacks: int = 0
    events: int = 0
    last_written_at: datetime | None = None  # of the last event


def of(db: Connection) -> Contents:
    age, revision = schema.age(db), schema.revision(db)
    if age in {Age.MISSING, Age.OF_0_1}:
        return Contents(age, revision)
    newest = select(event.c.written_at).order_by(event.c.sequence.desc()).limit(1)
    return Contents(
        age=age,
        revision=revision,
        sessions=_count(db, session),
        callbacks=_count(db, callback),
        events=_count(db, event),
        last_written_at=db.scalar(newest),
    )


def _count(db: Connection, table: Table) -> int:
    return db.scalar(select(func.count()).select_from(table)) or 0
