"""How all of it stands: whether all is well, which sessions are overdue and why, and the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from service.domain.access import ALL_ACCOUNTS
from service.domain.causes import is_live_and_unrecorded
from service.domain.explain import Explanation
from service.domain.session import Session
from service.domain.state import State
from service.ledger import explanation, wellness
from service.ledger.wellness import Wellness
from service.store import conditions, processes, session_lists
from service.store import now as store_now
from service.store.conditions import Conditions
from service.store.session_lists import Filter

MOST_LOOKED_AT: Final = 100  # overdue ones, the newest


@dataclass(frozen=True)
class Overview:
    """`overdue` are those whose calls go on first. Without figures where the schema is behind.

    `in_progress` counts store.now.MOST_IN_PROGRESS of a state at most.
    """

    wellness: Wellness
    overdue: Sequence[tuple[Session, Explanation]] = ()
    in_progress: Mapping[State, int] = field(default_factory=dict)
    conditions: Conditions | None = None


def of(db: Connection, most: int) -> Overview:
    """With so many overdue sessions at most. Raises DatabaseError."""
    now = processes.now_of(db)
    found = wellness.look(db, now)
    if any(reason.code == "schema" for reason in found.reasons):
        return Overview(found)
    newest = session_lists.page(db, Filter(overdue=True), ALL_ACCOUNTS, None, MOST_LOOKED_AT)
    urgent = sorted(newest, key=lambda session: not is_live_and_unrecorded(session))[:most]
    return Overview(
        wellness=found,
        overdue=[(session, explanation.of(db, session, now)) for session in urgent],
        in_progress=store_now.in_progress(db, ALL_ACCOUNTS),
        conditions=conditions.of(db),
    )
