"""An export runs in a process of its own, ends with who asked and who answers, and shows if it broke off."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest
import requests
from sqlalchemy import insert

from service.domain.ids import new_id
from service.exports.order import ExportOrder
from service.store.engine import Database
from service.store.report_wanted import Wanted
from service.store.tables import session
from service.web import exports
from service.web.asgi import Message
from service.web.exports import MOST_AT_ONCE, RETRY_SECONDS, Exports
from tests.bed import processes
from tests.house import House, wait_until

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROWS = 6_000
A_TEXT = "x" * 5000  # all of them are more than pipe and sockets hold
LARGEST_MIB = 150


def write(database: Database) -> None:
    row = {
        "origin": "api",
        "account_sid": "account-1",
        "call_sid": "v3:call",
        "status_callback_method": "POST",
        "labels": {},
        "attempts": 1,
        "state": "failed",
        "failure_detail": A_TEXT,
        "callbacks": 0,
        "updated_at": NOON,
    }
    for first in range(0, ROWS, 1000):
        moments = (NOON + timedelta(seconds=n) for n in range(first, first + 1000))
        with database.begin() as db:
            db.execute(insert(session), [{**row, "id": new_id(), "requested_at": at} for at in moments])


@pytest.fixture
def large(house: House) -> House:
    write(house.database)
    return house


def begun(house: House, form: str = "ndjson") -> requests.Response:
    """An export of which the client has read the beginning."""
    path = f"{house.web.url}/v1/reports/sessions?format={form}"
    answer = house.http.get(path, stream=True, timeout=60)
    assert answer.status_code == 200, answer.text
    assert len(answer.raw.read(1000)) == 1000
    return answer


def exporting(house: House) -> list[psutil.Process]:
    """The processes of exports."""
    return [
        child
        for worker in house.web.worker_pids()
        for child in processes.children(worker)
        if "service.exports" in child.cmdline()
    ]


def rest(answer: requests.Response) -> tuple[int, Any]:
    """How many whole lines follow that on which reading began, and what the last one of all says."""
    _, *lines, last = answer.raw.read().splitlines()
    return len(lines), json.loads(last)["end"]


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_whole_one_says_so(large: House) -> None:
    lines, end = rest(begun(large))
    assert end == {"complete": True, "rows": ROWS, "position": 0}
    assert lines == ROWS - 1


def test_one_whose_process_is_killed_says_so_after_a_whole_row(large: House) -> None:
    answer = begun(large)
    (process,) = exporting(large)
    process.kill()
    lines, end = rest(answer)
    assert (end["complete"], end["rows"]) == (False, lines + 1)
    assert 0 < end["rows"] < ROWS
    wait_until(lambda: "export broken off" in large.web.log)


@pytest.mark.skipif(sys.platform != "linux", reason="the policy is Linux's")
def test_it_takes_only_what_is_idle_of_the_processor(large: House) -> None:
    answer = begun(large)
    (process,) = exporting(large)
    wait_until(lambda: os.sched_getscheduler(process.pid) == os.SCHED_IDLE)
    answer.close()


def test_in_csv_too(large: House) -> None:
    answer = begun(large, "csv")
    (process,) = exporting(large)
    process.kill()
    last = answer.raw.read().splitlines()[-1].decode()
    assert last.startswith('"# failed after rows: ')


def test_it_ends_when_the_client_leaves(large: House) -> None:
    answer = begun(large)
    (process,) = exporting(large)
    answer.close()
    wait_until(lambda: is_gone(process))
    wait_until(lambda: exporting(large) == [])


def test_it_ends_when_the_service_is_killed(large: House) -> None:
    answer = begun(large)
    (process,) = exporting(large)
    large.web.kill_worker()
    wait_until(lambda: is_gone(process))
    answer.close()


def test_it_is_broken_off_when_the_service_ends(large: House) -> None:
    answer = begun(large)
    (process,) = exporting(large)
    ending = threading.Thread(target=large.web.stop)
    ending.start()
    wait_until(lambda: is_gone(process))
    lines, end = rest(answer)
    assert (end["complete"], end["rows"]) == (False, lines + 1)
    ending.join()


def test_a_few_run_at_a_time_and_hold_up_nobody(large: House) -> None:
    """None of their clients reads on."""
    running = [begun(large) for _ in range(MOST_AT_ONCE)]
    refused = large.get("/v1/reports/daily", format="csv")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, str(RETRY_SECONDS))
    assert refused.json()["type"].endswith(":too-many-exports")
    for _ in range(20):  # more than there are threads
        assert large.get("/v1/reports/sessions", limit=1).status_code == 200
    running[0].close()
    wait_until(lambda: large.get("/v1/reports/rejected", format="csv").status_code == 200)


def test_it_needs_little_memory_however_slowly_it_is_read(large: House) -> None:
    answer = begun(large)
    (process,) = exporting(large)
    while answer.raw.read(5_000_000):
        if not is_gone(process):
            assert process.memory_info().rss < LARGEST_MIB * 1024 * 1024


class Beside:
    """An export of `large`, read as fast as it comes; whether `many_wait` is the test's to say."""

    def __init__(self, database_url: str) -> None:
        self.many_wait = True
        self.left: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.exports = Exports(lambda: self.many_wait)
        self.order = ExportOrder(database_url, "sessions", Wanted(), None, "ndjson")
        self.sent: list[bytes] = []

    async def begin(self) -> asyncio.Task[None]:
        """It rests now, unless `many_wait` is not so."""
        running = asyncio.create_task(self.exports.answer(self.order, [], {}, lambda: self.left, self._send))
        while len(self.sent) < 2 and not running.done():  # the headers, and some rows
            await asyncio.sleep(0.01)
        assert not running.done()
        return running

    @property
    def lines(self) -> int:
        return b"".join(self.sent).count(b"\n")

    async def _send(self, message: Message) -> None:
        self.sent.append(message.get("body", b""))


def beside_many(url: str, test: Callable[[Beside], Coroutine[Any, Any, None]]) -> None:
    async def tested() -> None:
        await asyncio.wait_for(test(Beside(url)), 60)

    asyncio.run(tested())


@pytest.fixture
def long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "LONGEST_REST", 60)


def test_beside_many_callbacks_it_rests_after_some_rows(
    large: House, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "LONGEST_REST", 0.5)

    async def test(beside: Beside) -> None:
        running = await beside.begin()
        came, began = beside.lines, time.monotonic()
        await asyncio.sleep(2)
        rests = 1 + (time.monotonic() - began) / 0.5
        assert beside.lines - came < (rests + 1) * exports.ROWS_UNTIL_REST
        beside.many_wait = False
        await running
        assert beside.lines == ROWS + 1

    beside_many(database_url, test)


def test_it_rests_no_more_than_so_long_altogether(
    large: House, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MOST_REST", 0.5)

    async def test(beside: Beside) -> None:
        await (await beside.begin())
        assert beside.lines == ROWS + 1

    beside_many(database_url, test)


@pytest.mark.usefixtures("long_rest")
def test_while_it_rests_it_ends_with_the_service(large: House, database_url: str) -> None:
    async def test(beside: Beside) -> None:
        running = await beside.begin()
        beside.exports.end()
        await asyncio.wait_for(running, 20)
        assert json.loads(beside.sent[-1])["end"]["complete"] is False

    beside_many(database_url, test)


@pytest.mark.usefixtures("long_rest")
def test_while_it_rests_it_ends_when_the_client_leaves(large: House, database_url: str) -> None:
    async def test(beside: Beside) -> None:
        running = await beside.begin()
        beside.left.set_result({"type": "http.disconnect"})
        await asyncio.wait_for(running, 20)

    beside_many(database_url, test)
