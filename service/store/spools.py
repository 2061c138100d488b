"""Each spool's row: what waits in its folder, as the processes that use it say with their heartbeats."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, case, delete, literal, null, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.store.columns import UtcTime
from service.store.watch_tables import spool

UNSEEN_AFTER: Final = timedelta(seconds=15)
FORGOTTEN_AFTER: Final = timedelta(days=30)  # once retired


@dataclass(frozen=True)
class SeenSpool:
    """What a process sees of the folder it uses. `oldest_at` is UTC by the host's clock."""

    id: str
    host: str
    entries: int
    oldest_at: datetime | None
    dead_letters: int

    @property
    def holds_callbacks(self) -> bool:
        """Dead letters are evidence, too, that nobody sees."""
        return self.entries > 0 or self.dead_letters > 0


def beat(db: Connection, seen: SeenSpool, now: datetime) -> None:
    """It is there; one that was retired is in service again. `now` is by the database's clock."""
    # Another process of the host may be at it, and be stopped meanwhile; nobody waits for him.
    free = select(spool.c.id).where(spool.c.id == seen.id).with_for_update(skip_locked=True)
    values = {
        "host": seen.host,
        "seen_at": now,
        "entries": seen.entries,
        "oldest_at": seen.oldest_at,
        "dead_letters": seen.dead_letters,
        "retired_at": None,
    }
    began = or_(spool.c.waiting_since.is_(None), spool.c.seen_at < now - UNSEEN_AFTER)
    moment = literal(now, UtcTime)
    since = case((began, moment), else_=spool.c.waiting_since) if seen.holds_callbacks else null()
    known = update(spool).where(spool.c.id.in_(free)).values(values | {"waiting_since": since})
    if db.execute(known).rowcount == 0:
        dialect = postgresql if db.dialect.name == "postgresql" else sqlite
        new = values | {"id": seen.id, "waiting_since": now if seen.holds_callbacks else None}
        db.execute(dialect.insert(spool).values(new).on_conflict_do_nothing())


def remove(db: Connection, id: str) -> None:
    db.execute(delete(spool).where(spool.c.id == id))


def forget(db: Connection, now: datetime) -> None:
    """Those that were retired long ago."""
    db.execute(delete(spool).where(spool.c.retired_at < now - FORGOTTEN_AFTER))
