"""Each process says that it is alive, by the database's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from service.store import processes
from service.store.engine import Database
from service.store.tables import process

THEN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def beat(database: Database, id: str, **seen: datetime | None) -> None:
    with database.begin() as db:
        processes.beat(db, id, "host-1", seen.get("oldest"), seen.get("unavailable"))


def rows(database: Database) -> dict[str, dict[str, Any]]:
    with database.read() as db:
        return {row["id"]: dict(row) for row in db.execute(select(process)).mappings()}


def test_a_beat_is_written_by_the_databases_clock(database: Database) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    beat(database, "one")
    first = rows(database)["one"]
    assert before < first["started_at"] == first["alive_at"] < datetime.now(UTC) + timedelta(seconds=1)
    beat(database, "one", oldest=THEN, unavailable=THEN)
    second = rows(database)["one"]
    assert second["started_at"] == first["started_at"]
    assert second["alive_at"] >= first["alive_at"]
    assert (second["spool_oldest_at"], second["unavailable_since"]) == (THEN, THEN)
    beat(database, "one")
    assert (rows(database)["one"]["spool_oldest_at"], rows(database)["one"]["unavailable_since"]) == (
        None,
        None,
    )


def test_who_was_not_seen_for_long_is_forgotten_when_another_begins(database: Database) -> None:
    for id in ("long ago", "lately"):
        beat(database, id)
    with database.begin() as db:
        moment = processes.now_of(db)
        for id, days in (("long ago", 31), ("lately", 29)):
            gone = {"alive_at": moment - timedelta(days=days)}
            db.execute(update(process).where(process.c.id == id).values(gone))
    beat(database, "another")
    assert set(rows(database)) == {"lately", "another"}
