"""Why a session is in its state, in plain sentences: with these the page begins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from service.domain.session import Session
from service.domain.state import State
from service.store.engine import AnyConnection
from service.store.events import Event

STATES: Final = {
    State.REQUESTED: "It was asked for. Telnyx has not answered yet.",
    State.UNANSWERED: "Telnyx was asked, and gave no usable answer: it may or may not have started.",
    State.REFUSED: "It did not start.",
    State.ACCEPTED: "Telnyx accepted it. No callback has said yet that it started.",
    State.STARTED: "Telnyx called back that it started.",
    State.STOPPED: "It has ended: Telnyx called back that it stopped.",
    State.FAILED: "It has failed: Telnyx called back so.",
}


def explain(_db: AnyConnection, session: Session, _events: Sequence[Event], _now: datetime) -> list[str]:
    """Of a session and the first of its events, for who reads it now (UTC)."""
    progress, overdue = session.progress, session.watched.overdue
    found = [STATES[progress.state]]
    if progress.error is not None:
        words = (progress.error.status, progress.error.code, progress.error.detail)
        said = ", ".join(str(one) for one in words if one is not None)
        found.append(f"The reason given: {said or progress.error.kind}.")
    if overdue is not None:
        found.append(f"Overdue since {overdue.since:%Y-%m-%d %H:%M:%S} UTC: {overdue.why}")
    if progress.stop_requested_at is not None and not session.is_over:
        found.append(f"A stop was asked for by {progress.stop_requested_by or 'somebody'}.")
    return found
