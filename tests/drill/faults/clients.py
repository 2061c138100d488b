"""Faults of those who connect: Telnyx, apps, and strangers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from tests.bed import processes, slow
from tests.drill import http
from tests.drill.callback import STARTED, STOPPED
from tests.drill.faults.fault import Fault
from tests.drill.stage import Stage

SLOW_SENDERS = 8
HANGING_STARTS = 16  # twice as many as the service lets wait for Telnyx
POLLERS = 32
POLL_SECONDS = 0.1
FORGERS = 64


async def _nothing(_stage: Stage) -> None:
    await asyncio.sleep(3)


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


async def _connect_slowly(stage: Stage) -> None:
    """A thousand clients that keep their connections, and never send a whole request."""
    address = stage.web.address
    with ExitStack() as opened:
        await asyncio.to_thread(opened.enter_context, slow.silent(address, 400))
        await asyncio.to_thread(opened.enter_context, slow.half_sent(address, 300))
        await asyncio.to_thread(opened.enter_context, slow.dripping(address, 300))
        await asyncio.sleep(8)


async def _forge(stage: Stage) -> None:
    """As fast as they are answered, from a program of its own."""
    forgers = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "tests.drill.forgers"),
        *(str(stage.web.address[1]), str(FORGERS), stage.starter.new_call()),
        env=processes.environment({}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        await asyncio.sleep(10)
    finally:
        said, _ = await forgers.communicate(b"")  # its input ends, and so does it
    if refused := [line for line in said.decode().split() if line not in {"403", "404", "429", "503"}]:
        stage.offences.append(f"forgeries were answered {refused}")


async def _poll(stage: Stage) -> None:
    """Apps ask, each ten times a second or when it is answered, while the database hangs."""
    async with _polling(stage), stage.ledger.hanging():
        await asyncio.sleep(6)
    await asyncio.sleep(2)


@asynccontextmanager
async def _polling(stage: Stage) -> AsyncIterator[None]:
    request = stage.starter.request("GET", "/v1/sessions?limit=1")

    async def poll() -> None:
        line = http.Line(stage.web.address[1])
        try:
            while True:
                try:
                    await line.ask(request, patience_seconds=10)
                except http.NoAnswer:
                    line.close()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            line.close()

    pollers = [asyncio.create_task(poll()) for _ in range(POLLERS)]
    try:
        yield
    finally:
        for poller in pollers:
            poller.cancel()
        await asyncio.gather(*pollers, return_exceptions=True)


async def _hang_telnyx(stage: Stage) -> None:
    calls = [stage.starter.new_call() for _ in range(HANGING_STARTS)]
    await stage.telnyx.hang(calls)
    await asyncio.gather(*(stage.start_session(call_sid) for call_sid in calls))


NOTHING = Fault("nothing", "callbacks alone, to compare with", _nothing, seconds=3, is_answered=True)

FAULTS = (
    Fault("clock-off", "Telnyx's clock is minutes to weeks ahead or behind", _turn_clock, is_skewed=True),
    Fault("slow-senders", "bodies come byte by byte, and some end halfway", _send_slowly),
    Fault(
        "slow-clients",
        "1,000 connections on which no whole request ever comes",
        _connect_slowly,
        is_answered=True,
    ),
    Fault(
        "forgeries",
        "64 send forged callbacks as fast as they are answered",
        _forge,
        seconds=10,
        rate=100,
        is_answered=True,
    ),
    Fault(
        "polled",
        "apps poll /v1 while the database hangs",
        _poll,
        seconds=8,
        is_answered=True,
    ),
    Fault("telnyx-hangs", "starts are never answered by Telnyx", _hang_telnyx),
)
