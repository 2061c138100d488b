"""When callbacks were not listened for, and when the database heard of nobody."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, delete
from sqlalchemy.dialects import postgresql, sqlite

from service.store.columns import written_out
from service.store.watch_tables import blind_period

GAP: Final = timedelta(seconds=15)  # between two heartbeats; a shorter one is a restart
FORGOTTEN_AFTER: Final = timedelta(days=30)


class Why(StrEnum):
    AWAY = "away"  # no process was alive
    REFUSED = "refused"  # callbacks were answered 503, or would have been
    SILENT = "silent"  # a process could not say that it was alive: what it took waits on its disk


def save(db: Connection, id: str, host: str | None, why: Why, began_at: datetime, ended_at: datetime) -> None:
    """UTC, by the database's clock. One that is known is longer now."""
    dialect = postgresql if db.dialect.name == "postgresql" else sqlite
    new = {"id": id, "host": host, "why": why.value, "began_at": began_at, "ended_at": ended_at}
    longer = dialect.insert(blind_period).values(new)
    db.execute(longer.on_conflict_do_update(index_elements=["id"], set_={"ended_at": ended_at}))


def save_absence(db: Connection, process_id: str, alive_at: datetime, began_at: datetime) -> None:
    """From when that process was seen last until another one began none was alive, if that was for long."""
    if began_at - alive_at > GAP:
        # So that of several that begin at once all mean the same one.
        save(db, f"{process_id} {written_out(alive_at)}", None, Why.AWAY, alive_at, began_at)


def save_silence(db: Connection, id: str, host: str, began_at: datetime, ended_at: datetime) -> None:
    """A process of this host was alive, and could not say so: who began meanwhile took all for away."""
    save(db, id, host, Why.SILENT, began_at, ended_at)
    within = (blind_period.c.began_at >= began_at, blind_period.c.ended_at <= ended_at)
    db.execute(delete(blind_period).where(blind_period.c.why == Why.AWAY, *within))


def forget(db: Connection, now: datetime) -> None:
    db.execute(delete(blind_period).where(blind_period.c.ended_at < now - FORGOTTEN_AFTER))
