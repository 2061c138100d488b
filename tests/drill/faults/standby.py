"""Faults of a primary with a standby, played slowly and fast: luck hides some at either rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

from tests.bed.pair import Pair
from tests.drill.faults.fault import Fault, Play
from tests.drill.judge import Excuse
from tests.drill.ledger import Need
from tests.drill.stage import Stage

NOTICE_SECONDS = 2.0  # longer than the service's own deadlines
WAKE_SECONDS = 3.0
ON_STANDBY_SECONDS = 5.0
GONE_SECONDS = 30.0
SHOWN_SECONDS = 5.0
STUCK_PER_PROCESS = 2
ANSWER_SECONDS = 0.3  # what the primary committed last is answered by then; from a spool it would be later
RATES = (10, 200)


async def _kill_primary(stage: Stage, *, is_synchronous: bool) -> None:
    async with stage.servers.with_standby(is_synchronous=is_synchronous) as pair:
        await asyncio.sleep(1)
        await asyncio.to_thread(pair.primary.kill)
        killed_at = time.time()
        await asyncio.sleep(1)
        await stage.servers.fail_over(cut=True)
        await asyncio.sleep(NOTICE_SECONDS)
        if not is_synchronous:
            assert pair.old is not None
            await asyncio.to_thread(pair.old.start)  # where nobody else comes
            await _excuse(stage, pair, killed_at)


async def _move_address(stage: Stage, *, is_kept: bool, is_synchronous: bool) -> None:
    """To the standby and back. `is_kept`: what has connected to the standby stays there."""
    async with stage.servers.with_standby(is_synchronous=is_synchronous) as pair:
        await asyncio.sleep(1)
        await asyncio.to_thread(pair.lead_to, pair.standby, cut=True)
        await asyncio.sleep(ON_STANDBY_SECONDS)
        await asyncio.to_thread(pair.lead_to, pair.primary, cut=not is_kept)
        await asyncio.sleep(NOTICE_SECONDS)


async def _wake_primary(stage: Stage, *, is_synchronous: bool) -> None:
    """What was connected to it stays so, and it wakes when the service knows the new primary.

    Not before WAKE_SECONDS, which a connection takes at the most: one that was on its way to the frozen
    primary when the address moved would be completed there, and nothing tells it from any other.
    """
    async with stage.servers.with_standby(is_synchronous=is_synchronous) as pair:
        await asyncio.sleep(1)
        frozen_at = time.time()
        await asyncio.to_thread(pair.primary.freeze)
        await asyncio.sleep(NOTICE_SECONDS)
        await stage.servers.fail_over(cut=False)
        await asyncio.sleep(WAKE_SECONDS)
        assert pair.old is not None
        await asyncio.to_thread(pair.old.thaw)
        await asyncio.sleep(NOTICE_SECONDS)
        if not is_synchronous:
            await _excuse(stage, pair, frozen_at)
        if not await stage.wait_until_shown(SHOWN_SECONDS):
            stage.offences.append(f"not all was shown {SHOWN_SECONDS:.0f} s after the old primary woke")


async def _kill_standby(stage: Stage) -> None:
    async with stage.servers.with_standby(is_synchronous=True) as pair:
        await asyncio.sleep(1)
        await asyncio.to_thread(pair.standby.kill)
        most, until = 0, time.monotonic() + GONE_SECONDS
        while time.monotonic() < until:
            most = max(most, await asyncio.to_thread(stage.servers.count_stuck))
            await asyncio.sleep(0.5)
        if most > STUCK_PER_PROCESS * stage.web.workers:
            stage.offences.append(f"{most} server processes were stuck at once")
        await asyncio.to_thread(pair.standby.start)
        await asyncio.to_thread(pair.wait_until_caught_up)
        if not await stage.wait_until_shown(SHOWN_SECONDS):
            stage.offences.append(f"not all was shown {SHOWN_SECONDS:.0f} s after the standby was back")


async def _excuse(stage: Stage, pair: Pair, at: float) -> None:
    """What an asynchronous standby had not yet when its primary was lost at `at` (Unix time)."""
    assert pair.old is not None
    url = pair.on(pair.old, stage.servers.direct)
    excuse = Excuse(at + ANSWER_SECONDS)
    excuse.happened_at = await asyncio.to_thread(stage.servers.happened_at_on, url, stage.call_sids)
    excuse.session_ids = await asyncio.to_thread(stage.servers.session_ids_on, url, stage.call_sids)
    stage.excuses.append(excuse)


@dataclass(frozen=True)
class _Kind:
    name: str
    about: str
    play: Play
    seconds: float
    rates: tuple[int, ...] = RATES


KINDS = (
    _Kind(
        "primary-killed",
        "SIGKILL to the primary; the standby is promoted",
        partial(_kill_primary, is_synchronous=True),
        7,
    ),
    _Kind(
        "primary-killed-async",
        "the same, and the standby is asynchronous",
        partial(_kill_primary, is_synchronous=False),
        8,
        (200,),
    ),
    _Kind(
        "on-standby",
        "the address leads to the standby for 5 s, and back",
        partial(_move_address, is_kept=False, is_synchronous=True),
        10,
    ),
    _Kind(
        "kept-on-standby",
        "the same, and connections to the standby are kept",
        partial(_move_address, is_kept=True, is_synchronous=True),
        10,
    ),
    _Kind(
        "on-standby-async",
        "the same, and the standby is asynchronous",
        partial(_move_address, is_kept=False, is_synchronous=False),
        10,
        (10,),
    ),
    _Kind(
        "primary-woken",
        "the primary freezes, the standby is promoted, the old primary wakes",
        partial(_wake_primary, is_synchronous=True),
        11,
    ),
    _Kind(
        "primary-woken-async",
        "the same, and the standby is asynchronous",
        partial(_wake_primary, is_synchronous=False),
        11,
    ),
    _Kind("standby-killed", "no standby for 30 s, and every COMMIT waits for one", _kill_standby, 33),
)


def _faults() -> Iterator[Fault]:
    for kind, rate in product(KINDS, RATES):
        if rate in kind.rates:
            yield Fault(
                f"{kind.name}-{rate}",
                f"{kind.about}; {rate} a second",
                kind.play,
                kind.seconds,
                rate,
                Need.OWN_SERVER,
                is_answered=True,
                shown_within_seconds=SHOWN_SECONDS,
            )


FAULTS = tuple(_faults())
