"""Many rows in one statement: found, written, and in trouble, as if SQLAlchemy had done it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import insert, select, text

from service.store.batch import Batch
from service.store.engine import (
    Database,
    DatabaseConflict,
    DatabaseError,
    DatabaseUnavailable,
    driver,
)
from service.store.lookup import Lookup, looked_up_at_once
from service.store.tables import api_key, callback, process, rejected_delivery, session

NOW = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
REFUSED = {
    "received_at": NOW,
    "answered": 403,
    "reason": "ünsigned \u2603",
    "method": "POST",
    "token": None,
    "query": b"",
    "body": b"\0\xff'\"\\",
    "headers": {"b": "1", "a": "ü"},
    "size": 7,
}
HOSTS = Lookup(
    process, ("id", "host", "started_at", "alive_at", "unavailable_since"), by="id", order=("host",)
)
REJECTED = Lookup(rejected_delivery, ("delivery_id", *REFUSED), by="delivery_id", order=("delivery_id",))


def host(id: str, name: str | None = None) -> dict[str, Any]:
    return {"id": id, "host": name or id, "started_at": NOW, "alive_at": NOW}


def add(database: Database, *ids: str) -> None:
    with database.begin() as db:
        batch = Batch(db)
        batch.add(process, [host(id) for id in ids])
        batch.write()


def found(database: Database, *ids: str) -> list[dict[str, Any]]:
    with database.begin(time.monotonic() + 5) as db:
        return list(HOSTS(db, ids))


def test_every_kind_of_value_comes_back_as_it_was_and_as_sqlalchemy_reads_it(database: Database) -> None:
    rows = [{**REFUSED, "delivery_id": "1"}, {**REFUSED, "delivery_id": "2", "token": "t", "headers": {}}]
    with database.begin() as db:
        batch = Batch(db)
        batch.add(rejected_delivery, rows)
        batch.write()
        assert list(REJECTED(db, ["1", "2", "nobody"])) == rows
        query = select(*(rejected_delivery.c[name] for name in rows[0])).order_by(
            rejected_delivery.c.delivery_id
        )
        assert [dict(row) for row in db.execute(query).mappings()] == rows


def test_what_sqlalchemy_wrote_is_found(database: Database) -> None:
    with database.begin() as db:
        db.execute(insert(process), [host("1", "b"), host("2", "a"), host("3", "c")])
    assert found(database, "1", "2") == [
        {**host(*one), "unavailable_since": None} for one in (("2", "a"), ("1", "b"))
    ]
    assert found(database) == found(database, "nobody") == []


def test_lookups_at_once_see_what_stood_before(database: Database) -> None:
    add(database, "1")
    with database.begin() as db:
        with looked_up_at_once(db):
            one, both = HOSTS(db, ["1"]), HOSTS(db, ["1", "2"])
        assert [row["id"] for row in one] == [row["id"] for row in both] == ["1"]
        batch = Batch(db)
        batch.add(process, [host("2")])
        batch.write()
        assert [row["id"] for row in HOSTS(db, ["1", "2"])] == ["1", "2"]


def test_a_row_that_is_changed_twice_keeps_both_changes(database: Database) -> None:
    add(database, "1", "2")
    with database.begin() as db:
        batch = Batch(db)
        batch.add(process, [host("3")])
        batch.change(process, [{"id": "1", "unavailable_since": NOW}])
        batch.change(process, [{"id": "1", "host": "new"}, {"id": "2", "host": "newer"}])
        batch.write()
        batch.write()  # nothing is left
    told = {row["id"]: (row["host"], row["unavailable_since"]) for row in found(database, "1", "2", "3")}
    assert told == {"1": ("new", NOW), "2": ("newer", None), "3": ("3", None)}


def test_a_row_may_refer_to_one_of_the_same_batch(database: Database) -> None:
    new = {
        "account_sid": "a",
        "call_sid": "c",
        "status_callback_method": "POST",
        "labels": {},
        "attempts": 1,
        "callbacks": 0,
    }
    new |= {"attempts": 1, "callbacks": 0}
    new |= {"origin": "api", "state": "requested", "requested_at": NOW, "updated_at": NOW}
    with database.begin() as db:
        batch = Batch(db)
        batch.add(api_key, [{"id": "1", "name": "an app", "created_at": NOW}])
        batch.add(session, [{**new, "id": "s", "api_key_id": "1"}])
        batch.write()
    with database.read() as db:
        assert db.scalar(select(session.c.api_key_id)) == "1"


def test_the_driver_s_own_trouble_is_named_and_undoes_it_all(database: Database) -> None:
    add(database, "1")
    with pytest.raises(DatabaseError) as trouble:
        add(database, "2", "1")
    assert not isinstance(trouble.value, DatabaseUnavailable)
    assert [row["id"] for row in found(database, "1", "2")] == ["1"]


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_row_that_somebody_else_has_locked_is_a_conflict_and_no_outage(database: Database) -> None:
    add(database, "1")
    locking = Lookup(process, ("id",), by="id", order=("id",), locks=True)

    def look() -> None:
        with database.begin(time.monotonic() + 2) as db, looked_up_at_once(db):
            locking(db, ["1"])
            HOSTS(db, ["1"])

    with database.begin() as db:
        assert [row["id"] for row in locking(db, ["1"])] == ["1"]
        began = time.monotonic()
        with pytest.raises(DatabaseConflict):
            look()
        assert time.monotonic() - began < 1.5
        assert database.breaker.takes_writes
    look()


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_of_two_that_wait_for_each_other_one_is_told_to_try_again(database: Database) -> None:
    add(database, "1", "2")
    locking = Lookup(process, ("id",), by="id", order=("id",), locks=True)
    both = threading.Barrier(2, timeout=5)

    def lock(first: str, second: str) -> None:
        with database.begin() as db:
            locking(db, [first])
            both.wait()
            with looked_up_at_once(db):
                locking(db, [second])

    with ThreadPoolExecutor(2) as pool:
        troubles = [done.exception() for done in (pool.submit(lock, "1", "2"), pool.submit(lock, "2", "1"))]
    assert sorted(map(type, troubles), key=str) == [type(None), DatabaseConflict]


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_who_is_in_a_hurry_finds_rows_by_an_index_though_the_table_was_empty_when_it_was_planned(
    database: Database,
) -> None:
    """A plan is kept for as long as its connection; one made for a small table reads a large one whole."""
    changing = "UPDATE session SET state = r.state FROM json_to_recordset($1) AS r(id text, state text)"
    statements = [
        "PREPARE looking(text[]) AS SELECT id FROM callback WHERE session_id = ANY($1)",
        "PREPARE locking(text[]) AS SELECT id FROM session WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
        f"PREPARE changing(json) AS {changing} WHERE session.id = r.id",
    ]
    with database.begin(time.monotonic() + 5) as db:
        assert db.scalar(select(callback.c.id).limit(1)) is None
        for statement in statements:
            db.exec_driver_sql(statement)
        for run in ("looking('{}')", "locking('{}')", "changing('[]')"):
            plan = "\n".join(db.scalars(text(f"EXPLAIN EXECUTE {run}")))
            assert "Index" in plan, plan
            assert "Seq Scan" not in plan, plan
            assert "Join" not in plan, plan  # nested loops are not called so


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_lookups_at_once_are_all_asked_before_the_first_is_read(database: Database) -> None:
    """Each that waited for its rows would cost a round trip."""
    add(database, "a")
    done = []

    class Noting(psycopg.Cursor[Any]):
        def execute(self, *args: Any, **options: Any) -> Any:
            done.append("asked")
            return super().execute(*args, **options)

        def fetchall(self) -> Any:
            done.append("read")
            return super().fetchall()

    with database.begin() as db:
        driver(db).cursor_factory = Noting
        with looked_up_at_once(db):
            rows = [HOSTS(db, ["a"]), REJECTED(db, ["a"])]
        assert [row["id"] for row in rows[0]] == ["a"]
        assert done == ["asked", "asked", "read"]
        driver(db).cursor_factory = psycopg.Cursor
