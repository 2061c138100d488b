"""Faults of any database, and of the one server that holds it."""

from __future__ import annotations

import asyncio

from tests.bed.processes import CommandFailed
from tests.drill.faults.fault import Fault
from tests.drill.ledger import Need
from tests.drill.plan import UNKNOWN_EVENTS
from tests.drill.stage import Stage

HOLD_SECONDS = 5.0  # longer than any of the service's own deadlines
SHORT_HANGS_SECONDS = (1.2, 1.0, 1.4, 1.1)
CUT_SECONDS = (0.1, 0.6, 0.05, 0.3, 0.5, 0.05, 0.05, 0.4, 0.2, 0.6, 0.1, 0.3)  # between one and the next


async def _stop(stage: Stage) -> None:
    async with stage.ledger.away():
        await asyncio.sleep(HOLD_SECONDS)


async def _hang(stage: Stage) -> None:
    """Long; then again and again, for COMMITs that arrive when nobody waits for them any more."""
    for seconds in (HOLD_SECONDS, *SHORT_HANGS_SECONDS):
        async with stage.ledger.hanging():
            await asyncio.sleep(seconds)
        await asyncio.sleep(1)


async def _cut(stage: Stage) -> None:
    for pause in CUT_SECONDS:
        await stage.postgresql.cut()
        await asyncio.sleep(pause)


async def _delay_commits(stage: Stage) -> None:
    """Only some: what follows finds the database well, and what is on its way not yet in it."""
    for _ in range(4):
        async with stage.postgresql.delaying_commits():
            await asyncio.sleep(0.3)
        await asyncio.sleep(2.7)


async def _take_grants(stage: Stage) -> None:
    async with stage.servers.without_grants():
        await asyncio.sleep(HOLD_SECONDS)
    await asyncio.sleep(1)


async def _pool(stage: Stage) -> None:
    """The service begins behind it, and ends behind it; what waits has to be written through it."""
    async with stage.servers.pooled():
        await asyncio.to_thread(stage.web.stop)
        await stage.restart()
        await asyncio.sleep(HOLD_SECONDS)
        await stage.traffic.pause()
        if not await stage.wait_until_shown():
            stage.offences.append("behind the pooler not all was shown in time")
        stage.traffic.resume()


async def _retry_dead_letters(stage: Stage) -> None:
    """A kind of callback cannot be stored; then it can, and what is a dead letter by now is tried again."""
    async with stage.ledger.refusing_event(UNKNOWN_EVENTS[0]):
        await asyncio.sleep(HOLD_SECONDS)
        async with stage.ledger.away():
            await asyncio.sleep(2)
        await asyncio.sleep(3)
    try:
        await asyncio.to_thread(stage.command, "spool", "retry")
    except CommandFailed as trouble:
        stage.offences.append(f"dead letters cannot be retried: {str(trouble).splitlines()[-1]}")


FAULTS = (
    Fault("database-stopped", "the database is gone, then back", _stop, need=Need.SERVER),
    Fault("database-hangs", "the database takes what it is given, and does not answer", _hang, seconds=15),
    Fault(
        "connections-cut",
        "its connections break, also between COMMIT and answer",
        _cut,
        seconds=4,
        need=Need.SERVER,
    ),
    Fault(
        "commits-late",
        "COMMITs arrive when the service waits for them no more",
        _delay_commits,
        seconds=12,
        need=Need.SERVER,
    ),
    Fault(
        "grant-taken",
        "the service may read, and not write",
        _take_grants,
        seconds=6,
        need=Need.OWN_SERVER,
        is_answered=True,
        shown_within_seconds=10,
    ),
    Fault("pooled", "PgBouncer stands between, in transaction mode", _pool, need=Need.POOLER),
    Fault(
        "dead-letters",
        "callbacks of one kind cannot be stored; then they can, and are retried",
        _retry_dead_letters,
        seconds=11,
    ),
)
