"""Sessions are counted by state, as far as that costs little however many there are."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection, and_, func, select, text

from service.domain.access import Accounts
from service.domain.state import State
from service.store import session_lists
from service.store.session_lists import Filter
from service.store.tables import IS_NOT_STOPPED, session

MOST_COUNTED = 5_000  # of the newest that fit
MOST_LOOKED_UP = 1_000  # where another table leads to them, so that each costs a look
MOST_OF_LABELS = 200  # that have several: to find one, many of the first label are looked at
MOST_OF_STATE = 1_000  # of a state that an index leads to, however old they are


@dataclass(frozen=True)
class StateCount:
    """`is_least`: there may be more, for not all were looked at."""

    state: State
    count: int
    is_least: bool


def by_state(db: Connection, wanted: Filter, accounts: Accounts) -> list[StateCount]:
    """Of what fits `wanted`, its states aside: each state, in order of rank."""
    every = session_lists.rarest_label_first(db, replace(wanted, states=frozenset()))
    most = most_counted(every)
    newest = session_lists.newest(every, accounts, most, session.c.state).subquery()
    rows = db.execute(select(newest.c.state, func.count().label("sessions")).group_by(newest.c.state))
    counts = {State(row.state): row.sessions for row in rows}
    is_all = sum(counts.values()) < most
    found = [StateCount(state, counts.get(state, 0), not is_all) for state in State]
    if is_all or every != Filter() or accounts is not None:
        return found
    return [one if one.state is State.STOPPED else _further(db, one) for one in found]


def most_counted(wanted: Filter) -> int:
    """Of the newest that fit."""
    if len(wanted.labels) > 1:
        return MOST_OF_LABELS
    return MOST_LOOKED_UP if wanted.labels or wanted.overdue else MOST_COUNTED


def _further(db: Connection, newest: StateCount) -> StateCount:
    """Of all sessions, not only of the newest: what is old and not over is not to be overlooked."""
    if newest.count >= MOST_OF_STATE:
        return newest
    of_state = (
        select(session.c.id)
        .where(session.c.state == newest.state, and_(text(IS_NOT_STOPPED)), session.c.merged_into.is_(None))
        .order_by(session.c.requested_at.desc(), session.c.id.desc())
        .limit(MOST_OF_STATE)
        .subquery()
    )
    count = db.scalar(select(func.count()).select_from(of_state)) or 0
    return StateCount(newest.state, count, is_least=count == MOST_OF_STATE)
