"""The drill from its first process to its verdict."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random

from tests.drill import processes
from tests.drill.callback import Signer
from tests.drill.faults import NEEDS_LIMITS, Fault
from tests.drill.judge import Judge, Part, Verdict
from tests.drill.ledger import Ledger
from tests.drill.plan import Planner
from tests.drill.progress import Progress
from tests.drill.stage import Stage
from tests.drill.starts import ACCOUNT_SID, Starter
from tests.drill.telnyx import Telnyx
from tests.drill.traffic import Traffic
from tests.drill.web import Web

BEFORE_SECONDS = 1.5
PLANNED_SECONDS = 10.0  # for the callbacks of one fault
LATE_CALLBACKS = 4  # for each session that was started during a fault
SLOWEST_RATE = 30  # callbacks per second, below which the rest is given up
TELNYX_TIMEOUT_SECONDS = 3


@dataclass(frozen=True)
class Result:
    """`of` has a verdict for each fault that was played; `left_out` says why others were not."""

    parts: dict[str, Part]
    of: dict[str, Verdict]
    elsewhere: Verdict
    left_out: dict[str, str]


@dataclass
class Drill:
    folder: Path
    ledger: Ledger
    guard: processes.Guard
    app: str
    seed: int
    progress: Progress
    _closers: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        self._signer = Signer()
        self._numbers = count(1)
        self._spool = self.folder / "spool"

    def run(self, faults: Sequence[Fault], callbacks: int) -> Result:
        """Raises what the programs raise that do not start, and starts.CannotStart."""
        try:
            self._open()
            return asyncio.run(self._run(faults, callbacks))
        finally:
            self._closers.close()

    def _open(self) -> None:
        self._spool.mkdir()
        self.ledger.claim()
        self._telnyx = Telnyx(self.folder, self.guard)
        self._closers.callback(self._telnyx.close)
        self._telnyx.start()
        self._web = Web(self.folder, self.guard, self.app, self.ledger.workers)
        self._closers.callback(self._web.close)
        self._web.settings = self._settings()
        processes.run_ledger(self.folder, self._web.settings, "db", "upgrade")
        run = secrets.token_hex(4)
        key = processes.run_ledger(self.folder, self._web.settings, "keys", "create", f"drill {run}")
        self._starter = Starter(self._web.port, key, self._telnyx, run)
        self._web.start()

    def _settings(self) -> dict[str, str]:
        return {
            "PUBLIC_URL": self._web.url,
            "SECRET_KEY": base64.b64encode(secrets.token_bytes(33)).decode(),
            "DATABASE_URL": self.ledger.url,
            "SPOOL_DIR": str(self._spool),
            "TELNYX_API_KEY": self._telnyx.api_key,
            "TELNYX_PUBLIC_KEY": self._signer.public_key,
            "TELNYX_BASE_URL": self._telnyx.url,
            "TELNYX_ACCOUNT_SID": ACCOUNT_SID,
            "TELNYX_TIMEOUT_SECONDS": str(TELNYX_TIMEOUT_SECONDS),
            "START_DEADLINE_SECONDS": "15",
            "WATCH_SECONDS": "0.5",
            "THREADS": "32",
            "WEB_CONCURRENCY": str(self.ledger.workers),
        }

    async def _run(self, faults: Sequence[Fault], callbacks: int) -> Result:
        missing = {**self.ledger.left_out, **NEEDS_LIMITS}
        played = [fault for fault in faults if fault.name not in missing]
        parts: dict[str, Part] = {}
        for number, fault in enumerate(played, start=1):
            self.progress.step(f"{self.ledger.name} {number}/{len(played)} {fault.name}")
            parts[fault.name] = await self._play(fault, callbacks // len(played))
        await asyncio.to_thread(self._web.stop)
        self.progress.step(f"{self.ledger.name}: counting")
        judge = await asyncio.to_thread(self._judge)
        left_out = {fault.name: missing[fault.name] for fault in faults if fault.name in missing}
        verdicts = {name: judge.of(part) for name, part in parts.items()}
        return Result(parts, verdicts, judge.strangers(list(parts.values())), left_out)

    async def _play(self, fault: Fault, callbacks: int) -> Part:
        await self._telnyx.hush()
        traffic = Traffic(self._web.port, self._signer, max(1, callbacks) / PLANNED_SECONDS)
        # Of its own, so that what one fault has changed in time changes no other's plan.
        planner = Planner(Random(f"{self.seed} {fault.name}"), datetime.now(UTC), self._numbers)
        stage = Stage(self._web, self.ledger, self._telnyx, self._starter, planner, traffic, self._spool)
        sessions = await self._starter.start_many(planner.methods(callbacks), stage.promises)
        traffic.add(planner.deliveries(sessions, callbacks, is_skewed=fault.is_skewed))
        until = time.monotonic() + 4 * PLANNED_SECONDS + callbacks / SLOWEST_RATE
        tasks = [
            asyncio.create_task(traffic.send_all(until)),
            asyncio.create_task(self._report(fault, traffic)),
            asyncio.create_task(self._play_amid_starts(fault, stage)),
        ]
        sending, _, playing = tasks
        try:
            await playing
            ended_at = time.monotonic()
            traffic.hurry()
            is_drained = await stage.drained()
            seconds = time.monotonic() - ended_at
            await sending
            late = await self._starter.told(stage.started)
            traffic.add(planner.deliveries(late, LATE_CALLBACKS * len(late)))
            unsent = await traffic.send_all(max(until, time.monotonic() + PLANNED_SECONDS))
            await stage.drained()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return Part(traffic.log, stage.promises, seconds if is_drained else None, unsent)

    async def _play_amid_starts(self, fault: Fault, stage: Stage) -> None:
        await asyncio.sleep(BEFORE_SECONDS)
        starting = asyncio.create_task(stage.start_sessions(every_seconds=0.5))
        try:
            await fault.play(stage)
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)

    async def _report(self, fault: Fault, traffic: Traffic) -> None:
        """Until cancelled."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(1)
            told = traffic.log.callbacks.values()
            sent, kept = sum(one.sent for one in told), sum(one.kept for one in told)
            passed = time.monotonic() - began
            self.progress.tick(
                f"{self.ledger.name} {fault.name}: {sent} sent, {kept} answered 200, {passed:.0f} s"
            )

    def _judge(self) -> Judge:
        call_sids = self._starter.call_sids
        return Judge(self.ledger.callbacks(call_sids), self.ledger.sessions(call_sids))
