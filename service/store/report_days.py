"""Reports that count by day, of any time zone, from the view of sessions.

A row of their own view counts a day of UTC, and cannot be divided into days of another zone. Of days of UTC
both count the same, as a test sees to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Label, RowMapping, and_, column, func, select, table

from service.domain import days
from service.domain.access import Accounts
from service.store import report_rows
from service.store.columns import written_out
from service.store.report_page import Key, Page, Report
from service.store.report_views import DAILY, SESSIONS, Plain, Row
from service.store.report_wanted import Wanted
from service.store.tables import session

Day = tuple[date, datetime, datetime]  # it, its first moment, and the next one's
HAS_STARTED: Final = ("started", "stopped")
WITHIN: Final = (1, 2, 3, 5, 10, 20, 60)  # seconds
BY_CAUSE: Final = ("failed", "refused", "unanswered")

_of: Final = SESSIONS.table.c
_causes: Final = table("report_causes_v1", column("cause"), column("side"))
_ordered: Final = _of.origin != "adopted"


def page(
    db: Connection, report: Report, wanted: Wanted, accounts: Accounts, after: Key | None, limit: int
) -> Page:
    """Of one day at most: who asks for more reads them in transactions of their own, and may stop between.

    Days without a session have no row.
    """
    wanted_days = _days(db, wanted, after)
    if (day := next(wanted_days, None)) is None:
        return Page([], None)
    of_day = replace(wanted, since=day[1], until=day[2])
    where = report_rows.conditions(SESSIONS, report.time, of_day, accounts)
    rows = _of_day(db, report, where, day[0])
    rows = [row for row in rows if after is None or _order(report.place(row)) > _order(after)]
    if len(rows) > limit:
        return report.cut(rows, limit)
    following = next(wanted_days, None)
    before_its_first = None if following is None else _before(following[0], report)
    return Page(rows, before_its_first)


def _before(day: date, report: Report) -> Key:
    """The first row of the day."""
    return (day.isoformat(), *[None] * (len(report.key) - 1))


def _days(db: Connection, wanted: Wanted, after: Key | None) -> Iterator[Day]:
    """Of the wanted ones, those on which any session was requested."""
    zone = days.zone(wanted.zone)
    since = wanted.since
    if after is not None:
        begins = days.begin(date.fromisoformat(str(after[0])), zone)
        since = begins if since is None else max(since, begins)
    while (first := _first_from(db, since)) is not None:
        if wanted.until is not None and first >= wanted.until:
            return
        day = days.day_of(first, zone)
        since = days.begin(day + days.ONE, zone)
        yield day, days.begin(day, zone), since


def _first_from(db: Connection, since: datetime | None) -> datetime | None:
    """When the first session was requested, from then on."""
    query = select(session.c.requested_at).order_by(session.c.requested_at).limit(1)
    return db.scalar(query if since is None else query.where(session.c.requested_at >= since))


def _of_day(db: Connection, report: Report, where: Iterable[ColumnElement[bool]], day: date) -> list[Row]:
    counting = _DAILY if report.view is DAILY else _FAILURES
    columns = [_of[name] for name in counting.groups]
    query = select(*columns, *counting.counts).where(*counting.where, *where).group_by(*columns)
    rows = []
    for row in db.execute(query).mappings():
        values = {**row, "day": day.isoformat(), **counting.further(row)}
        rows.append([values[name] for name in report.view.columns])
    return sorted(rows, key=lambda row: _order(report.place(row)))


def _order(key: Key) -> tuple[str, ...]:
    """None, which stands for no connector, before all that has a name."""
    return tuple("" if part is None else f"={part}" for part in key)


def _count(name: str, *conditions: ColumnElement[bool]) -> Label[int]:
    return func.count().filter(and_(*conditions)).label(name)


def _daily() -> Iterator[Label[Any]]:
    yield _count("asked", _ordered)
    yield _count("adopted", ~_ordered)
    yield _count("pending", _of.state == "requested")
    for state in ("unanswered", "refused", "accepted", "started", "stopped", "failed"):
        yield _count(state, _of.state == state)
    yield _count("overdue", _of.overdue_kind.is_not(None))
    yield func.sum(_of.duration_seconds).label("seconds_recorded")
    yield from _starts()
    for name in DAILY.columns:
        state, _, cause = name.partition("_")
        if cause and state in BY_CAUSE:
            yield _count(name, _of.state == state, _of.error_cause == cause)


def _starts() -> Iterator[Label[Any]]:
    seconds = _of.seconds_to_started  # null for those that were adopted
    yield _count(f"start_{WITHIN[0]}s", seconds <= WITHIN[0])
    for more, within in pairwise(WITHIN):
        yield _count(f"start_{within}s", seconds > more, seconds <= within)
    yield _count("start_more", seconds > WITHIN[-1])
    has_no_time = (_ordered, seconds.is_(None))
    yield _count("start_never", *has_no_time, _of.state.not_in(HAS_STARTED))
    yield _count("start_unknown", *has_no_time, _of.state.in_(HAS_STARTED))


def _failures() -> Iterator[Label[Any]]:
    yield func.count().label("sessions")
    yield func.min(_of.requested_at).label("first_requested_at")
    yield func.max(_of.requested_at).label("last_requested_at")
    yield func.max(_of.session_id).label("example_session_id")
    sides = select(func.max(_causes.c.side)).where(_causes.c.cause == _of.cause)
    yield sides.scalar_subquery().label("side")


def _of_daily(row: RowMapping) -> Mapping[str, Plain]:
    return {"seconds_recorded": round(float(row["seconds_recorded"] or 0), 6)}


def _of_failures(row: RowMapping) -> Mapping[str, Plain]:
    return {name: written_out(row[name]) for name in ("first_requested_at", "last_requested_at")}


@dataclass(frozen=True)
class _Counting:
    """What is counted of the groups of sessions `where`, and what of a row is made of what SQL gives."""

    groups: Sequence[str]
    counts: Sequence[Label[Any]]
    where: Sequence[ColumnElement[bool]]
    further: Callable[[RowMapping], Mapping[str, Plain]]


_OF_CONNECTOR: Final = ("account_sid", "connector_name")
_DAILY: Final = _Counting(_OF_CONNECTOR, tuple(_daily()), (), _of_daily)
_FAILURES: Final = _Counting(
    (*_OF_CONNECTOR, "cause", "cause_text"), tuple(_failures()), (_of.cause.is_not(None),), _of_failures
)
