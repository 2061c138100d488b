"""Sessions as the watch leaves them, made in one stroke."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert

from service.domain.ids import new_id
from service.store.tables import session
from service.store.watch_tables import session_watch


def add_session(
    db: Connection,
    *,
    account_sid: str = "account",
    connector_name: str | None = "recorder-1",
    requested_at: datetime | None = None,
    **columns: Any,
) -> str:
    """A session's id; nothing of it but what lists and the watch read."""
    now = requested_at or datetime.now(UTC)
    values: dict[str, Any] = {
        "id": new_id(),
        "origin": "api",
        "account_sid": account_sid,
        "call_sid": f"call-{new_id()}",
        "connector_name": connector_name,
        "status_callback_method": "POST",
        "labels": {},
        "requested_at": now,
        "updated_at": now,
        "attempts": 1,
        "state": "accepted",
        "callbacks": 0,
    }
    db.execute(insert(session).values(values | columns))
    return str(values["id"])


def overdue(
    db: Connection,
    session_id: str,
    kind: str,
    why: str = "it did not come",
    *,
    since: datetime | None = None,
    call_status: str | None = None,
) -> None:
    values: dict[str, Any] = {
        "overdue_kind": kind,
        "overdue_since": since or datetime.now(UTC),
        "overdue_why": why,
    }
    values |= {"session_id": session_id, "requested_at": datetime.now(UTC), "call_status": call_status}
    db.execute(insert(session_watch).values(values))
