"""A session is explained, by what the database has of it: for the API, the page and alerts alike."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from service.domain import explain
from service.domain.explain import Explanation, Problem
from service.domain.explain_lines import Line
from service.domain.session import Session
from service.store import callback_lists, events

MOST_LINES: Final = 500


def of(db: Connection, session: Session, now: datetime) -> Explanation:
    """`now` (UTC) is when it is read."""
    lines = [
        Line(event.position, event.actor, event.changes, event.happened_at, event.correction)
        for event in events.of_session(db, session.id, 0, MOST_LINES)
    ]
    found = callback_lists.problems(db, session.id, explain.MOST_PROBLEMS + 1)
    return explain.explain(session, lines, [Problem(at, words) for at, words in found], now)
