"""What the watch looks at, and when: rows of its own, which callbacks neither read nor lock.

Whoever holds the row of a session writes what was found out about it, and nobody else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.domain.overdue import OverdueKind, Watched
from service.domain.state import State
from service.store import watched
from service.store.engine import driver, is_postgresql
from service.store.events import SESSION, EventKind
from service.store.tables import event, session
from service.store.watch_tables import due, session_watch, watch

NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)  # it stays, and is looked at no more
# What a session waits for changes with these alone.
_STARTS_A_CLOCK: Final = ("state", "stop_requested_at")
_PREPARE: Final = """
SELECT set_config('idle_in_transaction_session_timeout', '5s', true),
    set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true)"""


@dataclass(frozen=True)
class Due:
    session_id: str
    kind: OverdueKind
    since: datetime
    next_at: datetime
    tried_at: datetime | None = None


@dataclass(frozen=True)
class Watching:
    """What the watch needs to know of a session. `siprec_sid` is the one to name it by."""

    session_id: str
    state: State
    is_stop_requested: bool
    is_merged: bool
    account_sid: str
    call_sid: str
    siprec_sid: str | None
    requested_at: datetime
    watched: Watched


@dataclass(frozen=True)
class Seen:
    """Events up to `position`. `since`: sessions that may wait for something else since then, by id."""

    position: int
    since: Mapping[str, datetime]


def prepare(db: Connection) -> None:
    """Begin a transaction of the watch; a process that is stopped in it loses its locks after a while."""
    if is_postgresql(db):
        driver(db).execute(_PREPARE)


def is_behind(db: Connection) -> bool:
    """Something was numbered that the watch has not seen."""
    return db.scalar(_BEHIND) is not None


def has_due(db: Connection, now: datetime) -> bool:
    return db.scalar(_FIRST, {"now": now}) is not None


def take_turn(db: Connection) -> int | None:
    """The position up to which all was seen; nobody else goes on from there until this transaction ends.

    None: somebody else does. Does not wait.
    """
    position: int | None = db.scalar(_TURN)
    return position


def seen(db: Connection, position: int, limit: int) -> Seen:
    """What was numbered next."""
    since: dict[str, datetime] = {}
    for row in db.execute(_EVENTS, {"position": position, "limit": limit}):
        position = row.position
        if row.subject_kind != SESSION:
            continue
        if row.kind == EventKind.MERGED or any(fact in row.changes for fact in _STARTS_A_CLOCK):
            since[row.subject_id] = row.numbered_at
    return Seen(position, since)


def move(db: Connection, position: int) -> None:
    db.execute(update(watch).values(position=position))


def take(db: Connection, now: datetime, limit: int) -> list[Due]:
    """What is due, locked; what others have locked is left to them."""
    return _rows(db, _TAKE, {"now": now, "limit": limit})


def lock(db: Connection, ids: Collection[str]) -> dict[str, Due]:
    """Of these sessions, by id, in the order of their ids. Waits for who has them."""
    return {row.session_id: row for row in _rows(db, _LOCK, {"ids": list(ids)})} if ids else {}


def watching(db: Connection, ids: Collection[str]) -> dict[str, Watching]:
    """These sessions as they stand, by id. Those of a locked Due cannot be found out about by others."""
    found = db.execute(_WATCHING, {"ids": list(ids)}).mappings() if ids else ()
    return {row["id"]: _watching(row) for row in found}


def put(db: Connection, rows: Sequence[Due]) -> None:
    """Instead of what these sessions had."""
    if rows:
        statement = _PUT_POSTGRESQL if is_postgresql(db) else _PUT_SQLITE
        db.execute(statement, [dict(row.__dict__) for row in rows])


def remove(db: Connection, ids: Collection[str]) -> None:
    if ids:
        db.execute(_REMOVE, {"ids": list(ids)})


def _rows(db: Connection, query: Any, wanted: Mapping[str, Any]) -> list[Due]:
    return [
        Due(row.session_id, OverdueKind(row.kind), row.since, row.next_at, row.tried_at)
        for row in db.execute(query, wanted)
    ]


def _watching(row: Mapping[Any, Any]) -> Watching:
    return Watching(
        session_id=row["id"],
        state=State(row["state"]),
        is_stop_requested=row["stop_requested_at"] is not None,
        is_merged=row["merged_into"] is not None,
        account_sid=row["account_sid"],
        call_sid=row["call_sid"],
        siprec_sid=row["answer_siprec_sid"] or row["callback_siprec_sid"],
        requested_at=row["requested_at"],
        watched=watched.read(row),
    )


def _put(dialect: Any) -> Any:
    statement = dialect.insert(due)
    names = ("kind", "since", "next_at", "tried_at")
    return statement.on_conflict_do_update(
        index_elements=["session_id"], set_={name: statement.excluded[name] for name in names}
    )


# Made once: putting a statement together takes longer than running it.
_IDS: Final[Any] = bindparam("ids", expanding=True)
_POSITION: Final = select(watch.c.position).scalar_subquery()
_BEHIND: Final = select(event.c.position).where(event.c.position > _POSITION).limit(1)
_FIRST: Final = select(due.c.session_id).where(due.c.next_at <= bindparam("now")).limit(1)
_TURN: Final = select(watch.c.position).with_for_update(key_share=True, skip_locked=True)
_EVENTS: Final = (
    select(
        *(event.c[name] for name in ("position", "subject_kind", "subject_id", "kind", "changes")),
        event.c.numbered_at,
    )
    .where(event.c.position > bindparam("position"))
    .order_by(event.c.position)
    .limit(bindparam("limit"))
)
_DUE: Final = select(due)
_TAKE: Final = (
    _DUE.where(due.c.next_at <= bindparam("now"))
    .order_by(due.c.next_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_LOCK: Final = _DUE.where(due.c.session_id.in_(_IDS)).order_by(due.c.session_id).with_for_update()
_OF_SESSION: Final = (
    *("id", "state", "stop_requested_at", "merged_into", "account_sid", "call_sid"),
    *("answer_siprec_sid", "callback_siprec_sid", "requested_at"),
)
_WATCHING: Final = (
    select(*(session.c[name] for name in _OF_SESSION), *watched.COLUMNS)
    .select_from(session.outerjoin(session_watch, session_watch.c.session_id == session.c.id))
    .where(session.c.id.in_(_IDS))
)
_REMOVE: Final = delete(due).where(due.c.session_id.in_(_IDS))
_PUT_POSTGRESQL: Final = _put(postgresql)
_PUT_SQLITE: Final = _put(sqlite)
