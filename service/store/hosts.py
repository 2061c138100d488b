"""The hosts: their processes, and what waits on their disks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from service.store.processes import now_of
from service.store.spools import UNSEEN_AFTER
from service.store.tables import process
from service.store.watch_tables import spool


@dataclass(frozen=True)
class Host:
    """What is known of a host, over all its spools; times are UTC.

    `processes` were alive in the last 15 s. `seen_at` (the database's clock) is of the spool that was not
    seen for longest; None: it has no spool. `oldest_at` is by the host's own clock.
    """

    name: str
    processes: int
    seen_at: datetime | None
    entries: int
    oldest_at: datetime | None
    dead_letters: int
    retired_at: datetime | None


def all(db: Connection) -> list[Host]:  # noqa: A001 (hosts.all)
    """By name: those with a spool, and those with processes that are alive."""
    alive = (
        select(process.c.host, func.count())
        .where(process.c.alive_at >= now_of(db) - UNSEEN_AFTER)
        .group_by(process.c.host)
    )
    processes = {row[0]: row[1] for row in db.execute(alive)}
    spools: dict[str, list[Row[Any]]] = {host: [] for host in processes}
    for row in db.execute(select(spool)):
        spools.setdefault(row.host, []).append(row)
    return [_host(name, processes.get(name, 0), rows) for name, rows in sorted(spools.items())]


def _host(name: str, processes: int, rows: Sequence[Row[Any]]) -> Host:
    """What is retired counts only where nothing else is left."""
    counted = [row for row in rows if row.retired_at is None] or rows
    retired = [row.retired_at for row in counted if row.retired_at is not None]
    return Host(
        name=name,
        processes=processes,
        seen_at=min((row.seen_at for row in counted), default=None),
        entries=sum(row.entries for row in counted),
        oldest_at=min((row.oldest_at for row in counted if row.oldest_at is not None), default=None),
        dead_letters=sum(row.dead_letters for row in counted),
        retired_at=max(retired, default=None),
    )


def retire(db: Connection, name: str, now: datetime) -> None:
    """Its spools that were not seen for 15 s: they count as gone until they are seen again."""
    lost = (spool.c.host == name, spool.c.retired_at.is_(None), spool.c.seen_at <= now - UNSEEN_AFTER)
    db.execute(update(spool).where(*lost).values(retired_at=now))
