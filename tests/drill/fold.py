"""What callbacks make of a session, by the manual, written a second time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from tests.drill.callback import FAILED, STARTED, STOPPED
from tests.drill.ledger import StoredCallback

STATES = {STARTED: "started", STOPPED: "stopped", FAILED: "failed"}
RANKS = ("accepted", "started", "stopped", "failed")
ENDS = {STOPPED, FAILED}
# A Timestamp outside of these says what happened, but not when.
OLDEST, NEWEST = timedelta(days=-7), timedelta(minutes=5)


def fold(rows: Sequence[StoredCallback], answered_sid: str | None) -> dict[str, object]:
    """What these callbacks, in whatever order, make of a session that Telnyx accepted as `answered_sid`.

    Of other sids only the one that was received first counts, and its times and error only where the
    answered one has none. None: nobody has told the drill, and there are no callbacks.
    """
    others = [row for row in rows if row.siprec_sid != answered_sid]
    first = min(others, key=lambda row: row.received_at, default=None)
    own = [row for row in rows if row.siprec_sid == answered_sid]
    other = [row for row in others if first and row.siprec_sid == first.siprec_sid]
    states = [STATES.get(row.event or "", "accepted") for row in (*own, *other)]
    expected: dict[str, object] = {
        "state": max(states, key=RANKS.index, default="accepted"),
        "started_at": _earliest(own, {STARTED}) or _earliest(other, {STARTED}),
        "ended_at": _earliest(own, ENDS) or _earliest(other, ENDS),
        "error_detail": _error(own) or _error(other),
    }
    return expected if answered_sid is None else {**expected, "siprec_sid": answered_sid}


def _error(rows: Iterable[StoredCallback]) -> str | None:
    failures = [row for row in rows if row.event == FAILED]
    first = min(failures, key=lambda row: _time(row) or row.received_at, default=None)
    return f"no-answer {first.happened_at:%f}" if first else None


def _earliest(rows: Iterable[StoredCallback], events: set[str]) -> datetime | None:
    return min((time for row in rows if row.event in events and (time := _time(row))), default=None)


def _time(row: StoredCallback) -> datetime | None:
    if row.happened_at is None:
        return None
    return row.happened_at if OLDEST <= row.happened_at - row.received_at <= NEWEST else None
