"""What the pages show beside what is made in bulk: overdue sessions, one of many callbacks, a log-in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, bindparam, func, insert, select, text, update

from service.domain.ids import new_id
from service.domain.overdue import OverdueKind
from service.store import log_ins
from service.store.tables import api_key, callback, event, session
from service.store.watch_tables import watch
from tests.bench.data import Made
from tests.bench.ledgers import Ours

CALLBACKS: Final = 200  # of the session in the middle
# What is overdue, of the sessions in this state: half of a hundred, and but a few.
OVERDUE: Final = {"started": OverdueKind.NOT_ENDED, "accepted": OverdueKind.NOT_STARTED}


class Pages(Ours):
    """`cookie` is of somebody who is logged in; `callback_id` one of the session in the middle."""

    def _add(self, db: Connection) -> None:
        made = Made(self._stored)
        for state, kind in OVERDUE.items():
            db.execute(_WATCHED, {"state": state, "kind": kind, "like": "v3:made-%"})
        self.callback_id = _add_callbacks(db, made.session_id(made.count // 2 + 1), 0)
        _add_callbacks(db, made.session_id(made.count // 2), CALLBACKS)
        # The watch has seen all of it.
        db.execute(update(watch).values(position=select(func.max(event.c.position)).scalar_subquery()))
        now = datetime.now(UTC)
        key_id = db.scalar(select(api_key.c.id))
        assert key_id is not None
        self.cookie = log_ins.begin(db, key_id, None, "", now)


def _add_callbacks(db: Connection, session_id: str, most: int) -> str:
    """Until the session has so many. The id of the first one that it has."""
    found = db.execute(select(callback).where(callback.c.session_id == session_id)).mappings().all()
    pattern = found[0] if found else db.execute(select(callback).limit(1)).mappings().one()
    rows = [
        {
            **pattern,
            "id": new_id(),
            "session_id": session_id,
            "digest": number.to_bytes(32, "big"),
            "received_at": pattern["received_at"] + timedelta(seconds=number),
        }
        for number in range(len(found), most)
    ]
    if rows:
        db.execute(insert(callback), rows)
        db.execute(update(session).where(session.c.id == session_id).values(callbacks=most))
    return str(pattern["id"])


_WATCHED = text(
    "INSERT INTO session_watch (session_id, requested_at, overdue_kind, overdue_since, overdue_why, "
    "call_status, call_checked_at) "
    "SELECT id, requested_at, :kind, requested_at, 'it goes on', 'in-progress', requested_at "
    "FROM session WHERE state = :state AND call_sid LIKE :like"
).bindparams(bindparam("kind"), bindparam("state"), bindparam("like"))
