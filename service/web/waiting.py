"""A view that has nothing to tell yet lets its request wait, and is called anew once something happened."""

from __future__ import annotations

import time
from typing import Final

from flask import request

from service.ledger.waiters import Interest

WAITING: Final = "service.waiting"  # in the environment: the Waiting of this request


class Waiting:
    """Of one request, however often its view is called."""

    def __init__(self) -> None:
        self.until: float | None = None  # monotonic
        self.interest: Interest | None = None  # None: the view has answered
        self.after: int | None = None  # the position up to which its view has looked in vain


def wait_for(interest: Interest, seconds: float) -> None:
    """In a view: instead of being sent, its answer may wait for so long, counted from its first call.

    Then, or if the process ends, the answer is sent as it is; where something has come before, the view is
    called again. Authentication and all that it checks is done each time.
    """
    waiting = request.environ[WAITING]
    assert isinstance(waiting, Waiting)
    waiting.interest, waiting.after = interest, interest.after
    if waiting.until is None:
        waiting.until = time.monotonic() + seconds


def waited_after() -> int | None:
    """The position after which the view waited when it was called before; None: this is its first call."""
    waiting = request.environ[WAITING]
    assert isinstance(waiting, Waiting)
    return waiting.after
