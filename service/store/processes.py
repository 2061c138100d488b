"""The processes that serve, and when each was last seen, by the database's clock."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from service.store.columns import database_now
from service.store.tables import process

FORGOTTEN_AFTER = timedelta(days=30)


def beat(
    db: Connection,
    process_id: str,
    host: str,
    spool_oldest_at: datetime | None,
    unavailable_since: datetime | None,
) -> None:
    """The process is alive; times of its own are UTC. Forgets those that were not seen for 30 days."""
    now = now_of(db)
    seen = {"alive_at": now, "spool_oldest_at": spool_oldest_at, "unavailable_since": unavailable_since}
    changed = db.execute(update(process).where(process.c.id == process_id).values(seen))
    if changed.rowcount == 0:
        db.execute(insert(process).values(id=process_id, host=host, started_at=now, **seen))
        db.execute(delete(process).where(process.c.alive_at < now - FORGOTTEN_AFTER))


def last_alive(db: Connection) -> tuple[str, datetime] | None:
    """The id of the process that was seen last, and when (UTC); None where there was none."""
    query = select(process.c.id, process.c.alive_at).order_by(process.c.alive_at.desc()).limit(1)
    row = db.execute(query).one_or_none()
    return None if row is None else (row.id, row.alive_at)


def now_of(db: Connection) -> datetime:
    """The database's clock."""
    now: datetime = db.execute(select(database_now(db))).scalar_one()
    return now
