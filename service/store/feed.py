"""The feed: numbered events in the order of their positions."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, bindparam, select, true, tuple_

from service.domain.access import Access, Scope
from service.domain.history import Changes, Facts, facts_after
from service.store import histories
from service.store.events import ALERT, SESSION, EventKind
from service.store.tables import event, session

MOST_SCANNED: Final = 5000  # events looked at for a page, where a filter lets few through
DIGITS: Final = 8  # of a digest: enough to tell one past from another


@dataclass(frozen=True)
class Place:
    """Between two events: after the one with this position. `digits` are the first of its digest, in hex."""

    position: int = 0  # 0: before the first
    digits: str = ""


START: Final = Place()


class NotInLedger(Exception):
    """It has no event at that place: it was put back to an earlier state. `last` is where it ends now."""

    def __init__(self, last: Place) -> None:
        super().__init__(f"the ledger ends at {last.position}")
        self.last = last


@dataclass(frozen=True)
class Wanted:
    """What the feed is narrowed to; all that is set must fit. `types` are (kind of subject, kind)."""

    types: frozenset[tuple[str, str]] = frozenset()
    account_sid: str | None = None
    connector_name: str | None = None
    session_id: str | None = None  # and those merged into it


@dataclass(frozen=True)
class Line:
    """An event with its place. Of a session: what was ordered, and the facts as they stood after it."""

    place: Place
    numbered_at: datetime
    subject_kind: str
    subject_id: str
    kind: str
    actor: str
    callback_id: str | None
    correction: bool
    changes: Changes
    state: str | None
    account_sid: str | None
    happened_at: datetime
    written_at: datetime
    call_sid: str | None
    connector_name: str | None
    reference: str | None
    labels: dict[str, str]
    facts: Facts


def last(db: Connection) -> Place:
    """Where the feed ends now."""
    row = db.execute(_LAST).one_or_none()
    return START if row is None else _place(row.position, row.digest)


def place(db: Connection, after: Place | datetime | None) -> Place:
    """This place, or that of a time: before all that was numbered from then on; None: where the feed ends.

    Raises NotInLedger.
    """
    if after is None:
        return last(db)
    if isinstance(after, datetime):
        return _before(db, after)
    if _at(db, after.position) != after:
        raise NotInLedger(last(db))
    return after


def _at(db: Connection, position: int) -> Place | None:
    """None if no event has this position."""
    if position == 0:
        return START
    digest = db.scalar(_DIGEST, {"wanted": position})
    return None if digest is None else _place(position, digest)


def _before(db: Connection, moment: datetime) -> Place:
    """After the last event that was numbered before `moment`; `numbered_at` never goes backwards."""
    low, high = 0, last(db).position
    while low < high:
        middle = (low + high + 1) // 2
        numbered_at = db.scalar(_NUMBERED_AT, {"wanted": middle})
        assert numbered_at is not None  # there are no holes
        low, high = (middle, high) if numbered_at < moment else (low, middle - 1)
    return _at(db, low) or START


@dataclass(frozen=True)
class Found:
    """Of what fits and may be seen, the next places; and how far was looked, whether to the end."""

    places: list[Place]
    until: Place
    is_end: bool


def places(
    db: Connection, wanted: Wanted, access: Access, after: int, limit: int, most: int | None = None
) -> Found:
    """What was numbered after that position, and no later than `most`."""
    end = last(db)
    to_end = end.position if most is None else min(max(most, after), end.position)  # never back
    query = _PLACES.where(_sees(access), _fits(wanted)).limit(limit)
    position: ColumnElement[int] = event.c.position
    scanned = min(after + MOST_SCANNED, to_end)
    if wanted.session_id is not None:
        scanned = to_end
        position = event.c.position + 0  # or its index would be read to the end, for a few of one session
        ids = [wanted.session_id, *_merged_into(db, wanted.session_id)]
        query = query.where(event.c.subject_kind == SESSION, event.c.subject_id.in_(ids))
    query = query.where(position > after, position <= scanned).order_by(position)
    found = [_place(*row) for row in db.execute(query)]
    if len(found) == limit:
        return Found(found, found[-1], is_end=False)
    until = end if scanned == end.position else _at(db, scanned) or end
    return Found(found, until, is_end=scanned == to_end)


def lines(db: Connection, positions: Sequence[int]) -> list[Line]:
    """The events at these positions, in their order."""
    if not positions:
        return []
    rows = db.execute(_LINES, {"wanted": positions}).mappings().all()
    ids = {row["subject_id"] for row in rows if row["subject_kind"] == SESSION}
    known = histories.latest_changes(db, ids, positions[0] - 1)
    later = deque(_changes(db, rows, ids, positions))
    found = []
    for row in rows:
        while later and later[0][0] <= row["position"]:
            _, session_id, changes = later.popleft()
            known[session_id].update(changes)
        found.append(_line(row, known.get(row["subject_id"], {})))
    return found


def _changes(
    db: Connection, rows: Sequence[RowMapping], ids: Collection[str], positions: Sequence[int]
) -> Sequence[Any]:
    """(position, session's id, changes) of these sessions, as far as the positions reach."""
    if len(positions) > positions[-1] - positions[0]:  # there is nothing between those that were read
        of_sessions = (row for row in rows if row["subject_kind"] == SESSION)
        return [(row["position"], row["subject_id"], row["changes"]) for row in of_sessions]
    return histories.changes(db, ids, positions[0] - 1, positions[-1])


def _sees(access: Access) -> ColumnElement[bool]:
    """Events by the account that they had then: so nothing ever appears behind what was read.

    Alerts are for those who may read reports. What is done with keys and evidence, and alerts of no account,
    are for those who may see all accounts.
    """
    kinds = [SESSION, ALERT] if access.allows(Scope.REPORTS) else [SESSION]
    sees_kind = _subject_kind.in_(kinds)
    if access.accounts is not None:
        return and_(sees_kind, event.c.account_sid.in_(sorted(access.accounts)))
    return true() if access.allows(Scope.ADMIN) else sees_kind


def _fits(wanted: Wanted) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.types:
        conditions.append(tuple_(_subject_kind, event.c.kind).in_(sorted(wanted.types)))
    if wanted.account_sid is not None:
        conditions.append(event.c.account_sid == wanted.account_sid)
    if wanted.connector_name is not None:
        conditions += [_is_of_session, _connector_name == wanted.connector_name]
    return and_(true(), *conditions)


def _merged_into(db: Connection, session_id: str) -> list[str]:
    query = select(event.c.changes).where(event.c.subject_kind == SESSION, event.c.subject_id == session_id)
    merges = db.scalars(query.where(event.c.kind == EventKind.MERGED)).all()
    return [changes["merged_from"][1] for changes in merges if "merged_from" in changes]


def _line(row: RowMapping, known: Changes) -> Line:
    """`known` are the last changes, as of this event, of each fact of its session."""
    values = {name: row[name] for name in _LINE_COLUMNS}
    return Line(
        **{**values, "labels": row["labels"] or {}},
        place=_place(row["position"], row["digest"]),
        facts=facts_after([known]) if row["subject_kind"] == SESSION else {},
    )


def _place(position: int, digest: bytes) -> Place:
    return Place(position, digest.hex()[:DIGITS])


_LINE_COLUMNS: Final = [name for name in Line.__dataclass_fields__ if name not in {"place", "facts"}]
_OF_SESSION: Final = and_(event.c.subject_kind == SESSION, session.c.id == event.c.subject_id)
_WITH_SESSIONS: Final = event.outerjoin(session, _OF_SESSION)
# Or SQLite would take all that is of sessions by their index, and sort it, for one page.
_subject_kind: Final = event.c.subject_kind.concat("")
_is_of_session: Final = _subject_kind == SESSION
_PLACES: Final[Select[Any]] = select(event.c.position, event.c.digest)
_LAST: Final = _PLACES.where(event.c.position.is_not(None)).order_by(event.c.position.desc()).limit(1)
# Of one session after the other: joined, PostgreSQL may first read all sessions of a connector, for one page.
_connector_name: Final = (
    select(session.c.connector_name).where(session.c.id == event.c.subject_id).scalar_subquery()
)
_ORDERED: Final = ("call_sid", "connector_name", "reference", "labels")
_LINES: Final = (
    select(event, *(session.c[name] for name in _ORDERED))
    .select_from(_WITH_SESSIONS)
    .where(event.c.position.in_(bindparam("wanted", expanding=True)))
    .order_by(event.c.position)
)
_DIGEST: Final = select(event.c.digest).where(event.c.position == bindparam("wanted"))
_NUMBERED_AT: Final = select(event.c.numbered_at).where(event.c.position == bindparam("wanted"))
