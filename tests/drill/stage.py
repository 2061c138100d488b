"""Where a fault plays: all that it may break, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.drill.http import NoAnswer
from tests.drill.ledger import Ledger
from tests.drill.plan import Planner
from tests.drill.starts import Promises, Starter
from tests.drill.telnyx import Telnyx
from tests.drill.traffic import Traffic
from tests.drill.web import Web

DRAIN_SECONDS = 90


@dataclass
class Stage:
    web: Web
    ledger: Ledger
    telnyx: Telnyx
    starter: Starter
    planner: Planner
    traffic: Traffic
    spool: Path
    promises: Promises = field(default_factory=Promises)
    started: dict[str, str] = field(default_factory=dict)  # during the fault: session id -> call_sid

    async def start_session(self, call_sid: str | None = None) -> None:
        """Ask for a session, whatever comes of it."""
        call_sid = call_sid or self.starter.new_call()
        if session_id := await self.starter.start(self.promises, call_sid):
            self.started[session_id] = call_sid

    async def start_sessions(self, every_seconds: float) -> None:
        """Until cancelled."""
        asked: set[asyncio.Task[None]] = set()
        try:
            while True:
                asked.add(asyncio.create_task(self.start_session()))
                await asyncio.sleep(every_seconds)
        finally:
            await asyncio.gather(*asked)  # they end by themselves, and what they promise counts

    async def is_drained(self) -> bool:
        try:
            said = await self.web.readiness()
        except (NoAnswer, ValueError):
            return False
        spool = said.get("spool", {})
        is_whole = said["database"]["reachable"] and spool.get("state") != "broken"
        return is_whole and not spool.get("entries", 0)

    async def drained(self) -> bool:
        """Returns when nothing waits in the spool any more; false if that took too long."""
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not await self.is_drained():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return False
        return True

    async def restart(self) -> None:
        await asyncio.to_thread(self.web.start)

    def remove_spool(self) -> None:
        shutil.rmtree(self.spool)
