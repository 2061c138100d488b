"""The drill from its first process to its verdict."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random

from tests.bed import processes
from tests.bed.web import Web
from tests.drill.callback import Signer
from tests.drill.display import Display
from tests.drill.faults import NEEDS_LIMITS
from tests.drill.faults.fault import Fault
from tests.drill.judge import Judge, Part, Verdict, left_in
from tests.drill.ledger import Ledger
from tests.drill.plan import Planner
from tests.drill.stage import Stage
from tests.drill.starts import ACCOUNT_SID, Starter
from tests.drill.telnyx import Telnyx
from tests.drill.traffic import Traffic

BEFORE_SECONDS = 0.75
PLANNED_SECONDS = 9.0  # for the callbacks of one fault, unless it takes longer
LONGEST_SECONDS = 75  # for one fault, however few callbacks came meanwhile
LEAST = 0.03  # of all callbacks, so many come during each fault
MORE = 1.25  # are planned, as some come before and after
LATE_CALLBACKS = 4  # for each session that was started during a fault
SLOWEST_RATE = 30  # callbacks per second, below which the rest is given up
TELNYX_TIMEOUT_SECONDS = 3
ANSWER_SECONDS = 1.5  # longer is too long for Telnyx, where a fault is no reason
UNANSWERED = 0.01  # may be later than that, as the drill takes its part of the machine


@dataclass(frozen=True)
class Result:
    """`of` has a verdict for each fault that was played; `left_out` says why others were not."""

    parts: dict[str, Part]
    of: dict[str, Verdict]
    elsewhere: Verdict
    left_out: dict[str, str]


@dataclass(frozen=True)
class Dose:
    """How many callbacks a fault comes with, how many a second, and how many while it lasts at the least."""

    callbacks: int
    rate: float
    least: int

    @classmethod
    def of(cls, fault: Fault, share: int, least: int) -> Dose:
        if not fault.is_counted:
            least = 0
        if fault.rate:
            seconds = max(fault.seconds, least / fault.rate) + BEFORE_SECONDS
            return cls(math.ceil(MORE * seconds * fault.rate), fault.rate, least)
        callbacks = max(1, share, math.ceil(MORE * least))
        return cls(callbacks, callbacks / max(PLANNED_SECONDS, fault.seconds), least)


@dataclass
class Drill:
    folder: Path
    ledger: Ledger
    app: str
    seed: int
    display: Display
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
        self._telnyx = Telnyx(self.folder)
        self._closers.callback(self._telnyx.close)
        self._telnyx.start()
        self._web = Web(
            {}, self.ledger.workers, threads=32, app=self.app, folder=self.folder, is_log_apart=True
        )
        self._closers.callback(self._web.close)
        self._web.env = self._settings()
        processes.run_ledger(self._web.env, "db", "upgrade")
        run = secrets.token_hex(4)
        key = processes.run_ledger(self._web.env, "keys", "create", f"drill {run}")
        self._starter = Starter(self._web.address[1], key, self._telnyx, run)
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
            "START_DEADLINE_SECONDS": "22",
            "WATCH_SECONDS": "0.5",
            "THREADS": "32",
            "WEB_CONCURRENCY": str(self.ledger.workers),
        }

    async def _run(self, faults: Sequence[Fault], callbacks: int) -> Result:
        missing = {**self._missing(faults), **NEEDS_LIMITS}
        played = [fault for fault in faults if fault.name not in missing]
        parts: dict[str, Part] = {}
        for number, fault in enumerate(played, start=1):
            self.display.step(f"{self.ledger.name} {number}/{len(played)} {fault.name}")
            dose = Dose.of(fault, self._share(played, callbacks), int(LEAST * callbacks))
            parts[fault.name] = await self._play(fault, dose)
        await asyncio.to_thread(self._web.stop)
        self.display.step(f"{self.ledger.name}: counting")
        judge = await asyncio.to_thread(self._judge)
        left_out = {fault.name: missing[fault.name] for fault in faults if fault.name in missing}
        verdicts = {name: judge.of(part) for name, part in parts.items()}
        return Result(parts, verdicts, judge.strangers(list(parts.values())), left_out)

    def _missing(self, faults: Sequence[Fault]) -> dict[str, str]:
        lacks = self.ledger.lacks
        return {fault.name: lacks[fault.need] for fault in faults if fault.need and fault.need in lacks}

    def _share(self, played: Sequence[Fault], callbacks: int) -> int:
        """Of each fault that has no rate of its own."""
        least = int(LEAST * callbacks)
        fixed = sum(Dose.of(fault, 0, least).callbacks for fault in played if fault.rate)
        return math.ceil(max(0, callbacks - fixed) / max(1, sum(not fault.rate for fault in played)))

    async def _play(self, fault: Fault, dose: Dose) -> Part:
        await self._telnyx.hush()
        traffic = Traffic(self._web.address[1], self._signer, dose.rate)
        # Of its own, so that what one fault has changed in time changes no other's plan.
        planner = Planner(Random(f"{self.seed} {fault.name}"), datetime.now(UTC), self._numbers)
        stage = Stage(
            *(self._web, self.ledger, self._telnyx, self._starter, planner, traffic, self._spool),
            self._starter.begin_part(),
        )
        sessions = await self._starter.start_many(planner.methods(dose.callbacks), stage.promises)
        traffic.add(planner.deliveries(sessions, dose.callbacks, is_skewed=fault.is_skewed))
        until = time.monotonic() + LONGEST_SECONDS + dose.callbacks / SLOWEST_RATE
        sending = asyncio.create_task(traffic.send_all(until))
        playing = asyncio.create_task(self._play_amid_starts(fault, dose.least, stage))
        tasks = [sending, playing, asyncio.create_task(self._report(fault, traffic))]
        try:
            await playing
            ended_at = time.monotonic()
            traffic.hurry()
            is_shown = await stage.wait_until_shown()
            seconds = time.monotonic() - ended_at
            await sending
            await self._send_late(stage)
            unsent = await traffic.send_all(max(until, time.monotonic() + PLANNED_SECONDS))
            is_shown = is_shown and await stage.wait_until_shown()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        until_shown = seconds if is_shown else None
        if until_shown and fault.shown_within_seconds and until_shown > fault.shown_within_seconds:
            stage.offences.append(f"not all was shown before {until_shown:.1f} s after its end")
        return replace(stage.part, during=playing.result(), seconds_until_shown=until_shown, unsent=unsent)

    async def _send_late(self, stage: Stage) -> None:
        """Of the sessions that were started while something was broken."""
        gone = stage.part.is_excused
        started = {id: call_sid for id, call_sid in stage.started.items() if not gone(id)}
        late = await self._starter.told(started)
        number = LATE_CALLBACKS * len(late)
        stage.traffic.add(stage.planner.deliveries(late, number, has_other_sids=False))

    async def _play_amid_starts(self, fault: Fault, least: int, stage: Stage) -> int:
        """How many genuine deliveries were sent while it lasted."""
        await asyncio.sleep(BEFORE_SECONDS)
        starting = asyncio.create_task(stage.start_sessions(every_seconds=0.5))
        log, began = stage.traffic.log, time.monotonic()
        try:
            await fault.play(stage)
            while len(log.between(began, math.inf)) < least and not stage.traffic.is_sparing:
                if time.monotonic() > began + LONGEST_SECONDS:
                    break
                await fault.play(stage)
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        sent = log.between(began, time.monotonic())
        late = sum(one.status != 200 or one.seconds > ANSWER_SECONDS for one in sent if not one.is_broken)
        if fault.is_answered and late > max(2, UNANSWERED * len(sent)):
            stage.offences.append(f"{late} of {len(sent)} not answered 200 within {ANSWER_SECONDS} s")
        return len(sent)

    async def _report(self, fault: Fault, traffic: Traffic) -> None:
        """Until cancelled."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(1)
            told = traffic.log.callbacks.values()
            sent, kept = sum(one.sent for one in told), sum(one.kept for one in told)
            passed = time.monotonic() - began
            self.display.tick(
                f"{self.ledger.name} {fault.name}: {sent} sent, {kept} answered 200, {passed:.0f} s"
            )

    def _judge(self) -> Judge:
        call_sids = self._starter.call_sids
        stored = self.ledger.callbacks(call_sids), self.ledger.sessions(call_sids)
        return Judge(*stored, left_in(self._spool))
