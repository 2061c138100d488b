"""What the watch looks at, and when: rows of its own, which callbacks neither read nor lock.

Whoever holds the row of a session writes what was found out about it, and nobody else.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection

from service.domain.overdue import OverdueKind
from service.domain.value import value
from service.store.batch import Batch
from service.store.columns import read_back, written_out
from service.store.engine import driver, is_postgresql
from service.store.watch_tables import due

NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)  # it stays, and is looked at no more
# Statistics of what was due a moment ago say nothing of what is due now.
_PREPARE: Final = """
SELECT set_config('idle_in_transaction_session_timeout', '5s', true),
    set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true)"""
_DUE: Final = "SELECT session_id, kind, since, next_at, tried_at FROM due "
_TAKE: Final = _DUE + "WHERE next_at <= {0} ORDER BY next_at LIMIT {0}"
_TAKE_ON_SQLITE: Final = _TAKE.format("?")
_TAKE_ON_POSTGRESQL: Final = _TAKE.format("%s") + " FOR UPDATE SKIP LOCKED"
_LOCK_ON_SQLITE: Final = _DUE + "WHERE session_id IN (SELECT value FROM json_each(?)) ORDER BY session_id"  # noqa: S608
_LOCK_ON_POSTGRESQL: Final = _DUE + "WHERE session_id = ANY(%s) ORDER BY session_id FOR UPDATE"
_REMOVE_ON_SQLITE: Final = "DELETE FROM due WHERE session_id IN (SELECT value FROM json_each(?))"
_REMOVE_ON_POSTGRESQL: Final = "DELETE FROM due WHERE session_id = ANY(%s)"


@value(frozen=True)
class Due:
    session_id: str
    kind: OverdueKind
    since: datetime
    next_at: datetime
    tried_at: datetime | None = None

    def later(self, next_at: datetime) -> Due:
        """Looked at again then."""
        return Due(self.session_id, self.kind, self.since, next_at, self.tried_at)


def prepare(db: Connection) -> None:
    """Begin a transaction of the watch; a process that is stopped in it loses its locks after a while."""
    if is_postgresql(db):
        driver(db).execute(_PREPARE)


def take(db: Connection, now: datetime, limit: int) -> list[Due]:
    """What is due, locked; what others have locked is left to them."""
    if is_postgresql(db):
        return _read(driver(db).execute(_TAKE_ON_POSTGRESQL, [now, limit]))
    return _read(driver(db).execute(_TAKE_ON_SQLITE, [written_out(now), limit]))


def lock(db: Connection, ids: Collection[str]) -> dict[str, Due]:
    """Of these sessions, by id, in the order of their ids. Waits for who has them."""
    found = _of(db, _LOCK_ON_SQLITE, _LOCK_ON_POSTGRESQL, ids) if ids else ()
    return {one.session_id: one for one in _read(found)}


def put(batch: Batch, rows: Sequence[Due]) -> None:
    """Instead of what these sessions had."""
    batch.put(due, [vars(row) for row in rows], "session_id")


def remove(db: Connection, ids: Collection[str]) -> None:
    if ids:
        _of(db, _REMOVE_ON_SQLITE, _REMOVE_ON_POSTGRESQL, ids)


def _of(db: Connection, on_sqlite: str, on_postgresql: str, ids: Collection[str]) -> Any:
    if is_postgresql(db):
        return driver(db).execute(on_postgresql, [list(ids)])
    return driver(db).execute(on_sqlite, [json.dumps(list(ids))])


def _read(rows: Any) -> list[Due]:
    return [
        Due(id, OverdueKind(kind), read_back(since), read_back(next_at), tried_at and read_back(tried_at))
        for id, kind, since, next_at, tried_at in rows
    ]
