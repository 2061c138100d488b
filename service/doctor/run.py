"""Runs checks beside each other, each within its time, and never fails itself."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from service.doctor.check import Check, Finding, Status, skipped, wrong
from service.doctor.situation import Situation
from service.store.engine import DatabaseError

NOT_LOOKED_AT = "Whether it is so is not known; run the doctor again, or look by yourself."

log = logging.getLogger(__name__)

Results = queue.SimpleQueue[tuple[str, Finding]]


@dataclass(frozen=True)
class Examined:
    check: Check
    finding: Finding
    seconds: float
    was_run: bool = True

    @property
    def lets_others_run(self) -> bool:
        """Those that need it. One that does not apply here does, too."""
        return self.was_run and self.finding.status is not Status.WRONG


@dataclass(frozen=True)
class _Running:
    check: Check
    began: float  # monotonic


def run(checks: Sequence[Check], situation: Situation, without: Collection[str] = ()) -> list[Examined]:
    """In the order of `checks`. One that hangs is left behind: its thread keeps nobody.

    Those `without` are left out, by their names.
    """
    waiting = {check.name: check for check in checks}
    running: dict[str, _Running] = {}
    done: dict[str, Examined] = {}
    results: Results = queue.SimpleQueue()
    while waiting or running:
        for check in [one for one in waiting.values() if done.keys() >= set(one.needs)]:
            del waiting[check.name]
            if why := _why_not(check, done, without):
                done[check.name] = Examined(check, skipped(why), 0.0, was_run=False)
                continue
            running[check.name] = _Running(check, time.monotonic())
            threading.Thread(target=_run, args=(check, situation, results), daemon=True).start()
        if running:
            _wait(running, done, results)
    return [done[check.name] for check in checks]


def _why_not(check: Check, done: Mapping[str, Examined], without: Collection[str]) -> str | None:
    if check.name in without:
        return "It was left out."
    missing = [name for name in check.needs if not done[name].lets_others_run]
    return f"It needs {missing[0]}." if missing else None


def _wait(running: dict[str, _Running], done: dict[str, Examined], results: Results) -> None:
    """For the next result, or for the next that is out of time."""
    first = min(one.began + one.check.seconds for one in running.values())
    try:
        name, finding = results.get(timeout=max(0.0, first - time.monotonic()))
    except queue.Empty:
        for name, one in list(running.items()):
            if time.monotonic() >= one.began + one.check.seconds:
                late = wrong(f"There was no result within {one.check.seconds:.0f} s.", NOT_LOOKED_AT)
                done[name] = Examined(one.check, late, one.check.seconds)
                del running[name]
        return
    if name in running:  # or it was late
        one = running.pop(name)
        done[name] = Examined(one.check, finding, time.monotonic() - one.began)


def _run(check: Check, situation: Situation, results: Results) -> None:
    try:
        finding = check.run(situation)
    except DatabaseError as error:
        finding = wrong(f"The database did not say: {error}.", NOT_LOOKED_AT)
    except Exception as error:  # a check that cannot be run is a finding, too
        log.debug("a check failed", exc_info=error)
        finding = wrong(f"The check itself failed: {type(error).__name__}.", NOT_LOOKED_AT)
    results.put((check.name, finding))
