"""Ids of our own: UUIDv7 (RFC 9562)."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from random import Random

# Its own, which nobody else seeds. A forked process draws from a state of its own, too.
_random = Random()  # noqa: S311 (no id is a secret)
os.register_at_fork(after_in_child=_random.seed)


def new_id() -> str:
    """Sorts by time, which keeps the indexes dense. It is no secret, and may be guessed from others.

    Asking the system for each would hand the interpreter to another thread, in the midst of every callback.
    """
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | _random.getrandbits(80)
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def made_at(id: str) -> datetime:
    """When one of ours was made, in UTC, to the millisecond."""
    return datetime.fromtimestamp(int(id[:8] + id[9:13], 16) / 1000, UTC)


def period_of(id: str) -> str:
    """Of what was made within the same 65.536 s; periods sort by time."""
    return id[:8]


def period_at(moment: datetime) -> str:
    """Of what is made at that moment (UTC)."""
    return f"{int(moment.timestamp() * 1000) >> 16:08x}"


def period_after(period: str) -> str:
    return f"{int(period, 16) + 1:08x}"


def period_before(period: str) -> str:
    return f"{int(period, 16) - 1:08x}"


def period_begin(period: str) -> datetime:
    """UTC."""
    return datetime.fromtimestamp((int(period, 16) << 16) / 1000, UTC)
