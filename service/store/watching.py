"""What the watch needs to know of sessions, and what it has found out about them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from service.domain.overdue import Watched
from service.domain.state import State
from service.domain.value import value
from service.store import watched
from service.store.batch import Batch
from service.store.columns import read_back
from service.store.engine import driver, is_postgresql
from service.store.watch_tables import session_watch

_COLUMNS: Final = (
    *("state", "stop_requested_at", "merged_into", "account_sid", "call_sid"),
    *("answer_siprec_sid", "callback_siprec_sid", "requested_at"),
)
_SELECT: Final = (
    "SELECT s.id, {session}, {watched} FROM {wanted} LEFT JOIN session_watch w ON w.session_id = s.id"
)
_NAMES: Final = {
    "session": ", ".join(f"s.{name}" for name in _COLUMNS),
    "watched": ", ".join(f"w.{name}" for name in watched.NAMES),
}
_ON_SQLITE: Final = _SELECT.format(
    wanted="json_each(?) AS wanted JOIN session s ON s.id = wanted.value", **_NAMES
)
_ON_POSTGRESQL: Final = _SELECT.format(wanted="session s", **_NAMES) + " WHERE s.id = ANY(%s)"


@value(frozen=True)
class Watching:
    """One session. `siprec_sid` is the one to name it by."""

    session_id: str
    state: State
    is_stop_requested: bool
    is_merged: bool
    account_sid: str
    call_sid: str
    siprec_sid: str | None
    requested_at: datetime
    watched: Watched


def of(db: Connection, ids: Collection[str]) -> dict[str, Watching]:
    """These sessions as they stand, by id. Those of a locked Due cannot be found out about by others."""
    if not ids:
        return {}
    if is_postgresql(db):
        found: Any = driver(db).execute(_ON_POSTGRESQL, [list(ids)])
    else:
        found = driver(db).execute(_ON_SQLITE, [json.dumps(list(ids))])
    return {row[0]: _watching(*row) for row in found}


def save(batch: Batch, found: Sequence[tuple[Watching, Watched]]) -> None:
    """What is known of each of these sessions now. The caller holds its Due, or there is none."""
    rows = [watched.row(one.session_id, one.requested_at, after) for one, after in found]
    batch.put(session_watch, rows, "session_id")


def _watching(
    id: str,
    state: str,
    stop_requested_at: object,
    merged_into: str | None,
    account_sid: str,
    call_sid: str,
    answer_sid: str | None,
    callback_sid: str | None,
    requested_at: Any,
    *found_out: Any,
) -> Watching:
    return Watching(
        session_id=id,
        state=State(state),
        is_stop_requested=stop_requested_at is not None,
        is_merged=merged_into is not None,
        account_sid=account_sid,
        call_sid=call_sid,
        siprec_sid=answer_sid or callback_sid,
        requested_at=read_back(requested_at),
        watched=watched.of(found_out),
    )
