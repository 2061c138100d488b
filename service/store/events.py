"""The timeline of a session: one row for every change of what we know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from service.domain.session import Error, State
from service.domain.value import value
from service.store.batch import Batch
from service.store.tables import event, written_out


@dataclass(frozen=True)
class Event:
    """`changes` is fact -> [before, after], as JSON values; times are UTC."""

    sequence: int
    session_id: str
    state: State
    changes: dict[str, list[Any]]
    happened_at: datetime
    written_at: datetime


@value(frozen=True)
class Change:
    """An event to be written; `told` is fact -> (before, after)."""

    session_id: str
    state: State
    told: Mapping[str, tuple[object, object]]
    happened_at: datetime


def write(batch: Batch, changes: Sequence[Change], written_at: datetime) -> None:
    """In this order."""
    rows = [
        {
            "session_id": change.session_id,
            "state": change.state,
            "changes": {fact: [_json(value) for value in pair] for fact, pair in change.told.items()},
            "happened_at": change.happened_at,
            "written_at": written_at,
        }
        for change in changes
    ]
    batch.add(event, rows)


def of_session(db: Connection, session_id: str) -> list[Event]:
    """In the order in which they were written."""
    query = select(event).where(event.c.session_id == session_id).order_by(event.c.sequence)
    return [_event(row) for row in db.execute(query).mappings()]


def _event(row: RowMapping) -> Event:
    return Event(**{**row, "state": State(row["state"])})


def _json(value: object) -> Any:
    if isinstance(value, datetime):
        return written_out(value)
    return value.facts() if isinstance(value, Error) else value
