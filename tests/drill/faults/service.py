"""Faults of the service: its processes, its disk, its end."""

from __future__ import annotations

import asyncio

from tests.drill.faults.fault import Fault
from tests.drill.stage import Stage


async def _kill_workers(stage: Stage) -> None:
    for _ in range(3):
        stage.web.kill_worker()
        await asyncio.sleep(2)


async def _kill_master(stage: Stage) -> None:
    await asyncio.to_thread(stage.web.kill_master_alone)
    await stage.restart()
    await asyncio.sleep(1)
    await asyncio.to_thread(stage.web.kill_master)
    await stage.restart()


async def _kill_meanwhile(stage: Stage) -> None:
    """What was answered from a spool is then a dead process's, for the next one to drain."""
    async with stage.ledger.away():
        await asyncio.sleep(2)
        await asyncio.to_thread(stage.web.kill_master)
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
    files = [one for one in stage.spool.parent.rglob("*") if one.is_file() and "log" not in one.name]
    return max((one.stat().st_size for one in files), default=0)


async def _remove_spool(stage: Stage) -> None:
    """While it holds nothing; then the database goes away, and comes back, and the folder does."""
    await stage.traffic.pause()
    await stage.wait_until_drained()
    stage.remove_spool()
    stage.traffic.resume()
    try:
        await asyncio.sleep(1)
        async with stage.ledger.away():
            await asyncio.sleep(2.5)
        await asyncio.sleep(1)
    finally:
        stage.spool.mkdir(exist_ok=True)
    async with stage.ledger.away():
        await asyncio.sleep(2.5)


async def _terminate(stage: Stage) -> None:
    """In full flow; and once more while a database that hangs keeps every callback waiting."""
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


FAULTS = (
    Fault("worker-killed", "SIGKILL to a worker, three times", _kill_workers),
    Fault("master-killed", "SIGKILL to gunicorn's master, then to all of it at once", _kill_master),
    Fault("killed-meanwhile", "SIGKILL to all of it while the database is away", _kill_meanwhile),
    Fault("disk-full", "files cannot grow; then the database is away as well", _fill_disk),
    Fault("spool-gone", "SPOOL_DIR is removed, the database goes, both come back", _remove_spool),
    Fault("sigterm", "SIGTERM in full flow, then while the database hangs", _terminate),
)
