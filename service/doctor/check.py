"""What a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from service.doctor.situation import Situation


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"  # works, and not as it should
    WRONG = "wrong"
    SKIPPED = "skipped"  # does not apply, or what it needs is wrong


@dataclass(frozen=True)
class Finding:
    """`found` and `what_to_do` are sentences; they hold no secret."""

    status: Status
    found: str
    what_to_do: str = ""


@dataclass(frozen=True)
class Check:
    """`name` stays the same for ever; `what` it looks for is a line of the manual.

    It has `seconds`, from when all that it `needs` was found to be fine. `run` may raise: that is a finding.
    """

    name: str
    what: str
    seconds: float
    run: Callable[[Situation], Finding]
    needs: tuple[str, ...] = ()


def ok(found: str) -> Finding:
    return Finding(Status.OK, found)


def warning(found: str, what_to_do: str) -> Finding:
    return Finding(Status.WARNING, found, what_to_do)


def wrong(found: str, what_to_do: str) -> Finding:
    return Finding(Status.WRONG, found, what_to_do)


def skipped(found: str) -> Finding:
    return Finding(Status.SKIPPED, found)
