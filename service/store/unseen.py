"""Events that the watch has not seen: up to a position it has seen them all."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from service.store.columns import SQLITE_NOW, read_back
from service.store.engine import driver, is_postgresql
from service.store.events import SESSION, EventKind

# By the ends of their indexes, in words that leave no other way: else PostgreSQL may read all of a table for
# the first row that fits, and there is none.
_WORK: Final = """
SELECT coalesce((SELECT max(position) FROM event), 0) > (SELECT position FROM watch),
    coalesce((SELECT min(next_at) FROM due) <= {now}, {no})"""
_WORK_ON_SQLITE: Final = _WORK.format(now=SQLITE_NOW, no="0")
_WORK_ON_POSTGRESQL: Final = _WORK.format(now="now()", no="false")
_TURN: Final = "SELECT position, coalesce((SELECT max(position) FROM event), 0) FROM watch"
_TURN_ON_POSTGRESQL: Final = _TURN + " FOR NO KEY UPDATE SKIP LOCKED"
# What a session waits for changes with these facts alone. As text they are found faster than JSON is read;
# what is found too much is looked at in vain.
_STARTS_A_CLOCK: Final = "{find}, '\"state\"') > 0 OR {find}, '\"stop_requested_at\"') > 0"
_EVENTS: Final = (
    "SELECT subject_id, numbered_at FROM event WHERE position > {p} AND position <= {p} "  # noqa: S608
    f"AND subject_kind || '' = '{SESSION}' "  # or SQLite takes the index of subjects
    f"AND (kind = '{EventKind.MERGED}' OR {_STARTS_A_CLOCK}) ORDER BY position"
)
_EVENTS_ON_SQLITE: Final = _EVENTS.format(p="?", find="instr(changes")
_EVENTS_ON_POSTGRESQL: Final = _EVENTS.format(p="%s", find="strpos(CAST(changes AS text)")
_MOVE: Final = "UPDATE watch SET position = "


def work(db: Connection) -> tuple[bool, bool]:
    """Whether something was numbered that the watch has not seen, and whether something is due."""
    text = _WORK_ON_POSTGRESQL if is_postgresql(db) else _WORK_ON_SQLITE
    is_behind, has_due = driver(db).execute(text).fetchone()
    return bool(is_behind), bool(has_due)


def take_turn(db: Connection) -> tuple[int, int] | None:
    """The position up to which all was seen, and the last one that there is.

    Nobody else goes on from there until this transaction ends. None: somebody else does. Does not wait.
    """
    text = _TURN_ON_POSTGRESQL if is_postgresql(db) else _TURN
    found = driver(db).execute(text).fetchone()
    return None if found is None else tuple(found)


def see(db: Connection, after: int, until: int) -> dict[str, datetime]:
    """Sessions that may wait for something else since events behind `after`, up to `until`; since when."""
    text = _EVENTS_ON_POSTGRESQL if is_postgresql(db) else _EVENTS_ON_SQLITE
    found: Any = driver(db).execute(text, [after, until])
    return {id: read_back(numbered_at) for id, numbered_at in found}


def move(db: Connection, position: int) -> None:
    driver(db).execute(_MOVE + ("%s" if is_postgresql(db) else "?"), [position])
