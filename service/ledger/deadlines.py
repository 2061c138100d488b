"""Sessions whose answer did not come by its deadline become unanswered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from service.domain.notice import Error, ErrorKind, Notice, NoticeKind
from service.ledger.ingest import Changed
from service.ledger.transaction import Transaction
from service.store import sessions
from service.store.engine import Database
from service.store.events import WATCH

EXPIRED_AT_ONCE = 100
# A transaction holds SQLite's write lock; callbacks get their turn between two.
MOST_IN_TRANSACTION = 20
PAUSE_SECONDS = 0.05


def expire_overdue(database: Database, now: datetime, changed: Changed) -> int:
    """How many were overdue at `now` (UTC); EXPIRED_AT_ONCE at most. Raises DatabaseError."""
    with database.read() as db:
        overdue = sessions.overdue(db, now, EXPIRED_AT_ONCE)
    count = 0
    for start in range(0, len(overdue), MOST_IN_TRANSACTION):
        if start:
            time.sleep(PAUSE_SECONDS)
        with database.begin() as db:
            expired = expire(db, overdue[start : start + MOST_IN_TRANSACTION], now)
        changed(expired)
        count += len(expired)
    return count


def expire(db: Connection, ids: Sequence[str], now: datetime) -> list[str]:
    """Those of these sessions that are overdue still, now that they are locked."""
    transaction = Transaction(db, now, ids)
    expired = [id for id in ids if id in transaction.sessions and transaction.sessions[id].is_overdue(now)]
    error = Error(ErrorKind.NO_ANSWER, detail="no answer of Telnyx was kept before the deadline")
    for session_id in expired:
        unanswered = Notice(NoticeKind.UNANSWERED, received_at=now, error=error)
        transaction.answer(session_id, unanswered, WATCH)
    transaction.close()
    return expired
