"""A failure that repeats is counted, not repeated: one line at first, then one a minute with the count."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from copy import copy
from dataclasses import dataclass
from typing import Final

from service.log_lines import fields_of

MINUTE: Final = 60.0  # seconds
MOST_KINDS: Final = 1000  # counted at once; of more, all lines are written


@dataclass
class _Counted:
    until: float  # of the monotonic clock
    more: int = 0
    last: logging.LogRecord | None = None


class Flood:
    """What repeats has the logger, the message (without its arguments) and the type of exception in common.

    Lines below WARNING are written always, and so is a fact of a session (`log_lines.fact`). Any thread may
    ask; the lock is held for a look into a dictionary.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[Hashable, _Counted] = {}

    @property
    def is_counting(self) -> bool:
        return bool(self._counted)

    def lets_through(self, record: logging.LogRecord) -> bool:
        """False: it is counted, and `due` will tell of it."""
        if record.levelno < logging.WARNING or getattr(record, "is_fact", False):
            return True
        kind = (record.name, str(record.msg), _exception_type(record))
        with self._lock:
            counted = self._counted.get(kind)
            if counted is None:
                if len(self._counted) < MOST_KINDS:
                    self._counted[kind] = _Counted(self._monotonic() + MINUTE)
                return True
            counted.more += 1
            counted.last = record
            return False

    def due(self, *, at_end: bool = False) -> list[logging.LogRecord]:
        """What was counted over the last minute, of each kind the last line with how many more there were.

        To be asked each second, or so. `at_end`: whatever was counted, as nobody will ask again.
        """
        now, summaries = self._monotonic(), []
        with self._lock:
            for kind, counted in list(self._counted.items()):
                if counted.until > now and not at_end:
                    continue
                if counted.last is None:
                    del self._counted[kind]  # a minute of peace: the next one is news again
                    continue
                summaries.append(_summary(counted.last, counted.more))
                self._counted[kind] = _Counted(now + MINUTE)
        return summaries


def _summary(last: logging.LogRecord, more: int) -> logging.LogRecord:
    summary = copy(last)
    summary.msg = f"{last.msg} ({more} times more in the last minute)"
    summary.exc_info = summary.exc_text = None  # the first line had it
    return summary


def _exception_type(record: logging.LogRecord) -> type[BaseException] | None:
    if record.exc_info:
        return record.exc_info[0]
    error = fields_of(record).get("error")
    return type(error) if isinstance(error, BaseException) else None
