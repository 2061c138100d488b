"""What is left of the events of sessions at a position: of each fact its last change."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import JSON, Connection, Text, bindparam, select, text

from service.store.events import SESSION
from service.store.tables import event


def latest_changes(db: Connection, ids: Collection[str], until: int) -> dict[str, dict[str, Sequence[Any]]]:
    """Of each of these sessions, by id, the last change of each fact up to that position."""
    latest: dict[str, dict[str, Sequence[Any]]] = {session_id: {} for session_id in ids}
    for row in db.execute(_LATEST_CHANGES, {"ids": list(ids), "until": until}) if ids else ():
        latest[row.subject_id][row.fact] = row.change
    return latest


def changes(db: Connection, ids: Collection[str], after: int, until: int) -> Sequence[Any]:
    """(position, subject_id, changes) of these sessions, behind one position and up to another."""
    return db.execute(_CHANGES, {"ids": list(ids), "after": after, "until": until}).all() if ids else ()


# The database leaves out what later changes replaced: a session may have very many events.
_LATEST_CHANGES: Final = (
    text("""
SELECT subject_id, fact, change FROM (
    SELECT event.subject_id, one.key AS fact, one.value AS change,
        row_number() OVER (PARTITION BY event.subject_id, one.key ORDER BY event.position DESC) AS age
    FROM event, json_each(event.changes) AS one
    WHERE event.subject_kind = 'session' AND event.subject_id IN :ids AND event.position <= :until
) AS changed
WHERE age = 1""")
    .bindparams(bindparam("ids", expanding=True))
    .columns(subject_id=Text, fact=Text, change=JSON)
)
_CHANGES: Final = (
    select(event.c.position, event.c.subject_id, event.c.changes)
    .where(
        event.c.subject_kind == SESSION,
        event.c.subject_id.in_(bindparam("ids", expanding=True)),
        event.c.position > bindparam("after"),
        event.c.position <= bindparam("until"),
    )
    .order_by(event.c.position)
)
