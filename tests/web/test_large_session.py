"""A session of 100,000 callbacks costs what one of a few hundred costs, whoever writes or reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, Table, select, text

from service.domain.callback import Callback
from service.domain.ids import new_id
from service.domain.progress import MOST_FOLDED
from service.store import callbacks, sqlite, tables
from service.store.batch import Batch
from service.store.engine import Database, driver
from tests.ledger.arrivals import NOON, Arrivals, Said
from tests.ledger.desk import Desk
from tests.web.indoors import Indoors

MANY = 100_000
AT_ONCE = 10_000
SECOND = timedelta(seconds=1)

# What tells the callback that came n seconds after the first from that.
OTHERS = {
    "sqlite": {
        "digest": "CAST('number ' || n AS BLOB)",
        "received_at": "strftime('%Y-%m-%dT%H:%M:%S', received_at, n || ' seconds') || '.000000Z'",
        "last_received_at": "strftime('%Y-%m-%dT%H:%M:%S', received_at, n || ' seconds') || '.000000Z'",
    },
    "postgresql": {
        "digest": "convert_to('number ' || n, 'UTF8')",
        "received_at": "received_at + n * INTERVAL '1 second'",
        "last_received_at": "received_at + n * INTERVAL '1 second'",
    },
}


class Work:
    """What the database does inside its transactions: rows that PostgreSQL looks at, steps that SQLite takes.

    Unlike the time that it takes, it is the same on every machine.
    """

    STEPS = 100  # counted at once

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done = 0
        self._is_sqlite = database.is_sqlite
        for name in ("begin", "read"):
            monkeypatch.setattr(database, name, self._measured(getattr(database, name)))

    def of(self, do: Callable[[], object]) -> int:
        self.done = 0
        do()
        return self.done

    def _measured(self, transaction: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        def measured(*args: Any, **options: Any) -> Iterator[Connection]:
            with transaction(*args, **options) as db, self._counted(db):
                yield db

        return measured

    @contextmanager
    def _counted(self, db: Connection) -> Iterator[None]:
        if self._is_sqlite:
            driver(db).set_progress_handler(self._step, self.STEPS)
            yield
            driver(db).set_progress_handler(driver(db).is_late, sqlite.STEPS)  # as it was
        else:
            before = self._looked_at(db)  # by the backend's earlier transactions, whose counts it still holds
            yield
            self.done += self._looked_at(db) - before

    def _looked_at(self, db: Connection) -> int:
        rows = "SELECT SUM(seq_tup_read + COALESCE(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"
        return int(db.scalar(text(rows)) or 0)

    def _step(self) -> int:
        self.done += self.STEPS
        return 0


class Large:
    """Sessions of ours with as many callbacks as a test wants."""

    def __init__(self, indoors: Indoors) -> None:
        indoors.stop_draining()  # or its heartbeat would be measured too
        self._indoors = indoors
        self._database = indoors.context.database
        self._arrivals = Arrivals(self._database, Desk(self._database, None))

    def session(self, call_sid: str, count: int) -> str:
        """The first is received at NOON, and each of the others, which say something else, a second later."""
        session_id = self._indoors.started(call_sid)
        first = self.callback(call_sid, 0, session_id=session_id)
        self._arrivals.write([first])
        kind = "sqlite" if self._database.is_sqlite else "postgresql"
        for start in range(1, count, AT_ONCE):
            self._copy(tables.callback, first.delivery.id, start, min(start + AT_ONCE, count), OTHERS[kind])
        counted = "UPDATE session SET callbacks = :count, last_callback_at = (SELECT MAX(received_at)"
        counted += " FROM callback WHERE session_id = :id) WHERE id = :id"
        with self._database.begin() as db:
            db.execute(text(counted), {"count": count, "id": session_id})
        return session_id

    def others(self, count: int) -> None:
        """Sessions with one callback each, received before NOON, as most of a ledger is."""
        session_id = self._indoors.started("another")
        first = self.callback("another", -60, session_id=session_id)
        self._arrivals.write([first])
        self._copy(tables.session, session_id, 1, count, {})
        self._copy(tables.callback, first.delivery.id, 1, count, {"session_id": "session_id || '-' || n"})

    def _copy(self, table: Table, id: str, start: int, stop: int, changed: Mapping[str, str]) -> None:
        """The row that has this id, once for each number `n` from `start` to before `stop`."""
        changed = {"id": "id || '-' || n", **changed}
        copies = text(
            "WITH RECURSIVE number(n) AS (SELECT CAST(:start AS integer)"
            " UNION ALL SELECT n + 1 FROM number WHERE n + 1 < :stop)"
            f" INSERT INTO {table.name} ({', '.join(column.name for column in table.c)})"
            f" SELECT {', '.join(changed.get(column.name, column.name) for column in table.c)}"
            f" FROM number CROSS JOIN {table.name} WHERE id = :id"
        )
        with self._database.begin() as db:
            db.execute(copies, {"start": start, "stop": stop, "id": id})

    def callback(
        self, call_sid: str, received: int, happened: int = 0, session_id: str | None = None
    ) -> Callback:
        said = Said("siprec-stopped", call_sid, self._indoors.sid(call_sid), happened=happened * SECOND)
        return self._arrivals.read(said, received * SECOND, session_id)

    def batch(self, session_id: str, call_sid: str, count: int) -> list[Callback]:
        """The latest, one that was received first of all, a repeat of the first and one of the last; and one
        without a token, with which another comes home that is stored without a session."""
        first = self.callback(call_sid, 0, session_id=session_id)
        lost = self.callback(call_sid, count + 1, 1)
        with self._database.begin() as db:
            stored = Batch(db)
            callbacks.add(stored, [(callbacks.new(lost, None), lost)], NOON)
            stored.write()
            column = tables.callback.c
            latest = select(column.digest).where(column.session_id == session_id)
            digest = db.scalar(latest.order_by(column.received_at.desc()).limit(1))
        assert digest
        return [
            self.callback(call_sid, count, 2, session_id=session_id),
            self.callback(call_sid, -1, 3, session_id=session_id),
            _again(first, first.notice.digest),
            _again(first, digest),
            self.callback(call_sid, count, 4),
        ]

    def counted(self) -> dict[str, int]:
        """call_sid -> callbacks, of those that have several."""
        with self._database.read() as db:
            rows = db.execute(text("SELECT call_sid, callbacks FROM report_sessions_v1 WHERE callbacks > 1"))
            return {row.call_sid: row.callbacks for row in rows}

    def analyse(self) -> None:
        """As the database does it by itself, in time."""
        with self._database.begin() as db:
            db.execute(text("ANALYZE"))


def _again(came: Callback, digest: bytes) -> Callback:
    delivery = replace(came.delivery, id=new_id())
    return replace(came, delivery=delivery, notice=replace(came.notice, digest=digest))


def test_a_hundred_thousand_callbacks_of_a_session_slow_nobody_down(
    indoors: Indoors, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, counts = Large(indoors), {"few": MOST_FOLDED, "many": MANY}
    ids = {call_sid: large.session(call_sid, count) for call_sid, count in counts.items()}
    batches = {call_sid: large.batch(ids[call_sid], call_sid, count) for call_sid, count in counts.items()}
    large.others(5_000)
    large.analyse()
    work = Work(indoors.context.database, monkeypatch)

    def compare(do: Callable[[str], object]) -> None:
        few, many = (work.of(partial(do, call_sid)) for call_sid in ("few", "many"))
        assert 0 < many <= 2 * few + MANY // 100, (few, many)

    compare(lambda call_sid: indoors.context.services.ingest.write(batches[call_sid]))
    assert large.counted() == {call_sid: count + 4 for call_sid, count in counts.items()}

    def page(call_sid: str, path: str, **query: object) -> Any:
        answer = indoors.client.get(f"/v1/sessions/{ids[call_sid]}{path}", query_string=query)
        assert answer.status_code == 200, answer.text
        return answer.json

    compare(lambda call_sid: page(call_sid, ""))
    compare(lambda call_sid: page(call_sid, "/timeline"))
    compare(lambda call_sid: page(call_sid, "/callbacks", limit=50))
    middle = {call_sid: page(call_sid, "/callbacks", limit=200)["next_cursor"] for call_sid in ids}
    compare(lambda call_sid: page(call_sid, "/callbacks", limit=50, cursor=middle[call_sid]))
    shown = page("many", "/callbacks", limit=50, cursor=middle["many"])
    assert len(shown["callbacks"]) == 50
    assert shown["next_cursor"]
    assert [one["state"] for one in page("many", "/timeline")["timeline"]] == [
        "requested",
        "accepted",
        "stopped",
    ]
