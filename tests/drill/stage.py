"""Where a fault plays: all that it may break, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bed import processes
from tests.bed.web import Web
from tests.drill import http
from tests.drill.judge import Excuse, Part
from tests.drill.ledger import Ledger
from tests.drill.plan import Planner
from tests.drill.postgresql import Postgresql
from tests.drill.servers import Servers
from tests.drill.starts import Promises, Starter
from tests.drill.telnyx import Telnyx
from tests.drill.traffic import Traffic

DRAIN_SECONDS = 30
GLANCE_SECONDS = 0.25


@dataclass
class Stage:
    """`call_sids`: what those of this part of the drill are LIKE."""

    web: Web
    ledger: Ledger
    telnyx: Telnyx
    starter: Starter
    planner: Planner
    traffic: Traffic
    spool: Path
    call_sids: str
    promises: Promises = field(default_factory=Promises)
    excuses: list[Excuse] = field(default_factory=list)
    offences: list[str] = field(default_factory=list)
    started: dict[str, str] = field(default_factory=dict)  # during the fault: session id -> call_sid

    @property
    def postgresql(self) -> Postgresql:
        """For a fault that needs a server."""
        assert isinstance(self.ledger, Postgresql)
        return self.ledger

    @property
    def servers(self) -> Servers:
        """For a fault that needs servers of the drill's own."""
        assert isinstance(self.ledger, Servers)
        return self.ledger

    @property
    def part(self) -> Part:
        return Part(self.traffic.log, self.promises, self.excuses, self.offences)

    def command(self, *arguments: str) -> str:
        """What `siprec-ledger …` prints, with the service's settings. Raises processes.CommandFailed."""
        return processes.run_ledger(self.web.env, *arguments)

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

    async def wait_until_shown(self, seconds: float = DRAIN_SECONDS) -> bool:
        """Returns when the reports show all that was answered 200 so far; false if that took too long."""
        until = time.monotonic() + seconds
        kept = {one.happened_at: kept for one in self.traffic.log.genuine if (kept := self.part.kept(one))}
        while not await asyncio.to_thread(self._shows, kept):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(GLANCE_SECONDS)
        return True

    def _shows(self, kept: Mapping[Any, int]) -> bool:
        shown: dict[Any, int] = defaultdict(int)
        try:
            for row in self.ledger.callbacks(self.call_sids):
                shown[row.happened_at] += row.deliveries
        except self.ledger.troubles:
            return False
        return all(shown[happened_at] >= times for happened_at, times in kept.items())

    async def wait_until_drained(self, seconds: float = DRAIN_SECONDS) -> bool:
        """Returns when nothing waits in the spool any more; false if that took too long."""
        until = time.monotonic() + seconds
        while await self._waiting() != 0:
            if time.monotonic() > until:
                return False
            await asyncio.sleep(GLANCE_SECONDS)
        return True

    async def _waiting(self) -> int | None:
        """How many entries the spool holds, by /readyz; None if it does not say."""
        request = http.compose("GET", "/readyz", {"Connection": "close"})
        try:
            answer = await http.ask_once(self.web.address[1], request, patience_seconds=5)
            spool = json.loads(answer.body)["spool"]
            return int(spool["entries"]) if spool["state"] == "on" else None
        except (http.NoAnswer, ValueError, KeyError):
            return None

    async def restart(self) -> None:
        await asyncio.to_thread(self.web.start)

    def remove_spool(self) -> None:
        shutil.rmtree(self.spool)
