"""What makes callbacks durable, on an event loop of its own: intake, backlog, drain; and callbacks for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import text

from service.domain.callback import Callback, Delivery
from service.domain.ids import new_id
from service.ledger.answered import Answered
from service.ledger.backlog import Backlog
from service.ledger.drain import Drain
from service.ledger.ingest import Ingest
from service.ledger.intake import Intake, NotDurable
from service.ledger.missed import Missed
from service.ledger.sessions import Sessions
from service.sandbox import Sandbox, Session
from service.spool import Depth, Spool
from service.store import processes
from service.store.engine import Database
from service.store.errors import Outage
from service.telnyx.callback import Reader
from service.telnyx.callback_url import CallbackUrls
from service.telnyx.client import Client
from service.workers.drain import DrainWorker
from service.workers.heartbeat import Heartbeat
from service.workers.runner import Runner

LIMIT = 64 * 1024 * 1024
SECONDS = 30

T = TypeVar("T")


class Desk:
    """As `service.wiring` does it; the worker that drains runs from `start` on, or by `drain_once`."""

    def __init__(self, database: Database, spool: Path | None) -> None:
        self.database = database
        callback_urls = CallbackUrls("https://ledger.example", ["a secret that is long enough for a test"])
        self.spool = Spool(spool, LIMIT) if spool else None
        self.backlog = Backlog(self.spool)
        self.ingest = Ingest(database, now, nothing)
        self.sessions = Sessions(
            database,
            Client("http://127.0.0.1:9", "key", 1, now),
            callback_urls,
            now,
            timedelta(seconds=60),
            1,
            self.backlog.save_later,
            nothing,
        )
        self.intake = Intake(database.breaker, self.ingest, self.backlog)
        self.drain = Drain(
            self.backlog, database, self.ingest, self.sessions.save_answer, lambda: self.intake.commits
        )
        self.missed = Missed()
        heartbeat = Heartbeat(database, self.backlog, self.missed, Answered())
        self.worker = DrainWorker(self.drain, self.backlog, self.intake, database.breaker, heartbeat)
        self._runner = Runner("drain", self.worker.run_once, 0.1, now)
        self._sandbox = Sandbox()
        self.reader = Reader([self._sandbox.public_key], callback_urls, must_be_signed=True)

    def start(self, *, drains: bool = True) -> Desk:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.intake.start(self._loop)
        if drains:
            self._runner.start()
        return self

    def stop(self) -> None:
        self._runner.end()
        self.intake.stop()
        self._runner.join(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self.backlog.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """On its loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(SECONDS)

    def keep(self, *callbacks: Callback) -> list[float]:
        """All at once. How many seconds each took; raises NotDurable if one was not kept."""
        kept = self.try_to_keep(*callbacks)
        for one in kept:
            if isinstance(one, NotDurable):
                raise one
        return [one for one in kept if isinstance(one, float)]

    def try_to_keep(self, *callbacks: Callback) -> list[float | NotDurable]:
        """For each how many seconds it took, or why it was not kept."""

        async def one(callback: Callback) -> float | NotDurable:
            began = time.monotonic()
            try:
                await self.intake.keep(callback)
            except NotDurable as error:
                return error
            return time.monotonic() - began

        async def everyone() -> list[float | NotDurable]:
            return list(await asyncio.gather(*map(one, callbacks)))

        return self.run(everyone())

    def callback(self, sid: str = "sid-1", event: str = "siprec-started", **fields: str | None) -> Callback:
        """Of a session that is adopted when the first of its callbacks comes."""
        body = self._sandbox.compose(Session("account-1", "v3:call-1", sid), event, None, None, **fields)
        headers = self._sandbox.sign(body)
        return self.reader.read(Delivery(new_id(), now(), "POST", None, b"", headers, body))

    def callbacks(self, count: int) -> list[Callback]:
        """Different ones, of one session."""
        return [self.callback(Number=str(number)) for number in range(count)]

    @property
    def depth(self) -> Depth:
        depth = self.backlog.depth()
        assert depth is not None
        return depth

    def is_drained(self) -> bool:
        self.backlog.survey()
        return self.depth.entries == 0

    def deliveries(self) -> dict[str, int]:
        """event -> deliveries, over the whole ledger."""
        with self.database.read() as db:
            query = "SELECT event, SUM(deliveries) FROM report_callbacks_v1 GROUP BY event"
            return {str(row[0]): int(row[1]) for row in db.execute(text(query))}


@contextmanager
def running(desk: Desk, *, drains: bool = True) -> Iterator[Desk]:
    yield desk.start(drains=drains)
    desk.stop()


def lose(database: Database, reason: str) -> None:
    """As if a transaction had failed; whoever reads still gets an answer."""
    database.breaker.failed(Outage.WRITES, reason)


def regain(database: Database) -> None:
    """By a write that is committed."""
    with database.begin(is_probe=True) as db:
        processes.beat(db, new_id(), "host-1", None, None)


def again(callback: Callback, count: int) -> Sequence[Callback]:
    """The same, delivered so many times more."""
    return [replace(callback, delivery=replace(callback.delivery, id=new_id())) for _ in range(count)]


def nothing(_: object) -> None:
    """Nobody waits for a change here."""


def now() -> datetime:
    return datetime.now(UTC)
