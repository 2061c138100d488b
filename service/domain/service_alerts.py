"""What is wrong with the service itself, from figures that it has in memory. Pure: no input, no output."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from service.domain.causes import Cause, Side
from service.domain.value import value

LEAST_SECONDS: Final = 10.0  # an outage that is over by then needs nobody
STALLED_SECONDS: Final = 30.0
REJECTED: Final = 10  # in ten minutes
SLOW: Final = 3  # in ten minutes
CLOCK_SECONDS: Final = 30.0
FEWEST_CALLBACKS: Final = 5  # for a median
SAME_OUTAGE: Final = timedelta(minutes=10)
_NAMESPACE: Final = uuid.UUID("5b8f2a52-6a52-4a0c-9a55-0c1d4f1a7e10")

BY_CODE: Final = {
    cause.code: cause
    for cause in (
        Cause(
            "database_unavailable",
            "The database takes no writes",
            Side.US,
            "Bring the database back. Callbacks wait on disk meanwhile, where there is a spool.",
        ),
        Cause(
            "spool_in_use",
            "Callbacks wait on disk for the database",
            Side.US,
            "It drains by itself once the database takes writes; if it does not, look at the log.",
        ),
        Cause(
            "dead_letters",
            "The database refuses something that was answered 200",
            Side.US,
            "On this host, run siprec-ledger spool list, then siprec-ledger spool retry.",
        ),
        Cause(
            "rejected_growing",
            "Callbacks are rejected at the endpoint",
            Side.US,
            "Run siprec-ledger callbacks rejected. If they are Telnyx's, mend TELNYX_PUBLIC_KEY, then run "
            "siprec-ledger callbacks retry.",
        ),
        Cause(
            "slow_answers",
            "Answers to Telnyx come near the 1.5 s that they may take",
            Side.US,
            "Look at the load of this host, its disk and the database.",
        ),
        Cause(
            "clock_off",
            "This host's clock differs from Telnyx's",
            Side.US,
            "Set the clock of this host by NTP.",
        ),
        Cause(
            "numbering_stalled",
            "Events wait for their place in the feed",
            Side.US,
            "Look for long transactions in the database, and at the log.",
        ),
        Cause(
            "watch_stalled",
            "What is overdue may not be known, because the watch is behind",
            Side.US,
            "Look at the log, and at the load of the database.",
        ),
    )
}
SHARED: Final = frozenset({"database_unavailable", "numbering_stalled", "watch_stalled"})  # by all hosts


@value(frozen=True)
class Condition:
    """Of one process. Seconds are 0 where nothing is wrong; counts are of the last ten minutes."""

    unavailable_seconds: float = 0.0
    spool_seconds: float = 0.0
    dead_letters: int = 0
    rejected: int = 0
    slow_answers: int = 0
    clock_seconds: Sequence[float] = ()  # of the last callbacks: by how much we are ahead of Telnyx
    unnumbered_seconds: float = 0.0
    watch_seconds: float = 0.0


@value(frozen=True)
class Finding:
    """`figure` is the end of a sentence; it began about `since_seconds` ago, as far as is known."""

    cause: Cause
    figure: str
    since_seconds: float = 0.0


def findings(of: Condition) -> Iterator[Finding]:
    """While the database is unavailable, what stands still because of it is not told of too."""
    seconds = of.unavailable_seconds
    if is_out := seconds >= LEAST_SECONDS:
        yield Finding(BY_CODE["database_unavailable"], f"for {seconds:.0f} s", seconds)
    if of.spool_seconds >= LEAST_SECONDS:
        figure = f"the oldest for {of.spool_seconds:.0f} s"
        yield Finding(BY_CODE["spool_in_use"], figure, of.spool_seconds)
    if of.dead_letters:
        yield Finding(BY_CODE["dead_letters"], f"dead letters: {of.dead_letters}")
    if of.rejected >= REJECTED:
        yield Finding(BY_CODE["rejected_growing"], f"{of.rejected} in ten minutes")
    if of.slow_answers >= SLOW:
        yield Finding(BY_CODE["slow_answers"], f"{of.slow_answers} in ten minutes took more than 1 s")
    if len(of.clock_seconds) >= FEWEST_CALLBACKS and abs(off := median(of.clock_seconds)) >= CLOCK_SECONDS:
        yield Finding(BY_CODE["clock_off"], f"it is {abs(off):.0f} s {'ahead' if off > 0 else 'behind'}")
    if is_out:
        return
    for code, behind in (("numbering_stalled", of.unnumbered_seconds), ("watch_stalled", of.watch_seconds)):
        if behind >= STALLED_SECONDS:
            yield Finding(BY_CODE[code], f"for {behind:.0f} s", behind)


def alert_id(code: str, service: str, host: str, began_at: datetime) -> str:
    """The same for all processes that met it in the same ten minutes: of the service, or of the host."""
    period = int(began_at.timestamp() // SAME_OUTAGE.total_seconds())
    where = "" if code in SHARED else host
    return str(uuid.uuid5(_NAMESPACE, "|".join((code, service, where, str(period)))))
