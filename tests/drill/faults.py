"""What is broken, one after the other, each from its beginning to its end."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.drill.callback import STARTED, STOPPED
from tests.drill.stage import Stage

HOLD_SECONDS = 5.0  # longer than any of the service's own deadlines
SHORT_HANGS_SECONDS = (1.2, 1.0, 1.4, 1.1)
SLOW_SENDERS = 8
CUT_SECONDS = (0.1, 0.6, 0.05, 0.3, 0.5, 0.05, 0.05, 0.4, 0.2, 0.6, 0.1, 0.3)  # between one and the next
HANGING_STARTS = 16  # twice as many as the service lets wait for Telnyx

Play = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    name: str
    about: str
    play: Play
    is_skewed: bool = False  # the callbacks' clock is off


async def _nothing(_stage: Stage) -> None:
    await asyncio.sleep(1)


async def _kill_workers(stage: Stage) -> None:
    for _ in range(3):
        stage.web.kill_worker()
        await asyncio.sleep(2)


async def _kill_master(stage: Stage) -> None:
    await asyncio.to_thread(stage.web.kill_master)
    await stage.restart()
    await asyncio.sleep(1)
    await asyncio.to_thread(stage.web.kill_all)
    await stage.restart()


async def _stop_database(stage: Stage) -> None:
    async with stage.ledger.away():
        await asyncio.sleep(HOLD_SECONDS)


async def _hang_database(stage: Stage) -> None:
    """Long; then again and again, for COMMITs that arrive when nobody waits for them any more."""
    for seconds in (HOLD_SECONDS, *SHORT_HANGS_SECONDS):
        async with stage.ledger.hanging():
            await asyncio.sleep(seconds)
        await asyncio.sleep(1)


async def _cut_connections(stage: Stage) -> None:
    for pause in CUT_SECONDS:
        await stage.ledger.cut()
        await asyncio.sleep(pause)


async def _delay_commits(stage: Stage) -> None:
    """Only some: what follows finds the database well, and what is on its way not yet in it."""
    for _ in range(4):
        async with stage.ledger.dawdling():
            await asyncio.sleep(0.3)
        await asyncio.sleep(2.7)


async def _kill_meanwhile(stage: Stage) -> None:
    """What was answered from a spool is then a dead process's, for the next one to drain."""
    async with stage.ledger.away():
        await asyncio.sleep(2)
        await asyncio.to_thread(stage.web.kill_all)
        await stage.restart()
        await asyncio.sleep(2)
        stage.web.kill_worker()
        await asyncio.sleep(2)


async def _fill_disk(stage: Stage) -> None:
    """Files end in the midst of a write, some of them, then all; at last without a database as well."""
    try:
        for largest in (_largest_file(stage) + 5_003, 100_003, 4_099):
            stage.web.limit_files(largest)
            await asyncio.sleep(1.5)
        async with stage.ledger.away():
            await asyncio.sleep(2)
            stage.web.limit_files(_largest_file(stage) + 20_011)
            await asyncio.sleep(2)
    finally:
        stage.web.limit_files(None)


def _largest_file(stage: Stage) -> int:
    files = [one for one in stage.spool.parent.rglob("*") if one.is_file() and one.suffix != ".log"]
    return max((one.stat().st_size for one in files), default=0)


async def _remove_spool(stage: Stage) -> None:
    """While it holds nothing; then the database goes away, and comes back, and the folder does."""
    await stage.traffic.pause()
    await stage.drained()
    stage.remove_spool()
    stage.traffic.resume()
    try:
        await asyncio.sleep(1)
        async with stage.ledger.away():
            await asyncio.sleep(HOLD_SECONDS / 2)
        await asyncio.sleep(1)
    finally:
        stage.spool.mkdir(exist_ok=True)
    async with stage.ledger.away():
        await asyncio.sleep(HOLD_SECONDS / 2)


async def _turn_clock(_stage: Stage) -> None:
    await asyncio.sleep(3)


async def _send_slowly(stage: Stage) -> None:
    sessions = await stage.starter.start_many(["POST"] * SLOW_SENDERS, stage.promises)

    async def send_some(number: int) -> None:
        session = sessions[number]
        for event in (STARTED, "siprec-paused", STOPPED):
            callback = stage.planner.callback(session, event)
            is_whole = event != STARTED or number > 0
            await stage.traffic.drip(callback, is_whole=is_whole)

    await asyncio.gather(*map(send_some, range(len(sessions))))


async def _terminate(stage: Stage) -> None:
    """In full flow; and once more while a database that hangs keeps everybody in the door."""
    await _end_gracefully(stage)
    await asyncio.sleep(1)
    async with stage.ledger.hanging():
        await asyncio.sleep(1)
        ending = asyncio.create_task(_end_gracefully(stage))
        await asyncio.sleep(1.5)
    await ending


async def _end_gracefully(stage: Stage) -> None:
    """What is in flight has to be answered."""
    stage.traffic.watch_in_flight()
    await asyncio.to_thread(stage.web.stop)
    await stage.restart()


async def _hang_telnyx(stage: Stage) -> None:
    calls = [stage.starter.new_call() for _ in range(HANGING_STARTS)]
    await stage.telnyx.hang(calls)
    await asyncio.gather(*(stage.start_session(call_sid) for call_sid in calls))


FAULTS = (
    Fault("nothing", "callbacks alone, to compare with", _nothing),
    Fault("worker-killed", "SIGKILL to a worker, three times", _kill_workers),
    Fault("master-killed", "SIGKILL to gunicorn's master, then to all of it at once", _kill_master),
    Fault("database-stopped", "the database is gone, then back", _stop_database),
    Fault("database-hangs", "the database takes what it is given, and does not answer", _hang_database),
    Fault("connections-cut", "its connections break, also between COMMIT and answer", _cut_connections),
    Fault("commits-late", "COMMITs arrive when the service waits for them no more", _delay_commits),
    Fault("killed-meanwhile", "SIGKILL to all of it while the database is away", _kill_meanwhile),
    Fault("disk-full", "files cannot grow; then the database is away as well", _fill_disk),
    Fault("spool-gone", "SPOOL_DIR is removed, the database goes, both come back", _remove_spool),
    Fault("clock-off", "Telnyx's clock is minutes to weeks ahead or behind", _turn_clock, is_skewed=True),
    Fault("slow-senders", "bodies come byte by byte, and some end halfway", _send_slowly),
    Fault("sigterm", "SIGTERM in full flow, then while the database hangs", _terminate),
    Fault("telnyx-hangs", "starts are never answered by Telnyx", _hang_telnyx),
)

NEEDS_LIMITS = (
    {} if hasattr(resource, "prlimit") else {"disk-full": "this system cannot limit another process"}
)
