"""What a fault is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.drill.ledger import Need
from tests.drill.stage import Stage

Play = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """Played again and again until enough callbacks have come meanwhile, `seconds` or so each time."""

    name: str
    about: str
    play: Play
    seconds: float = 8
    rate: int | None = None  # of callbacks per second; None: as its share of all callbacks demands
    need: Need | None = None
    is_skewed: bool = False  # the callbacks' clock is off
    is_answered: bool = False  # callbacks have to be answered 200 all the while
    shown_within_seconds: float | None = None  # of its end

    @property
    def is_counted(self) -> bool:
        """Whether it comes with as many callbacks as every fault has to have."""
        return self.rate is None or self.rate >= 100
