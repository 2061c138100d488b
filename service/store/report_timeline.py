"""The report of all changes, in the order in which they were numbered."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from service.domain.access import Accounts
from service.store import feed, report_rows
from service.store.report_page import Key, Page, Report
from service.store.report_wanted import Wanted

CLOCKS_DIFFER: Final = timedelta(days=1)  # at most, of who writes an event and who numbers it
MOST_SCANNED: Final = 20_000  # events that one statement looks at, where a filter lets few through


def page(
    db: Connection, report: Report, wanted: Wanted, accounts: Accounts, after: Key | None, limit: int
) -> Page:
    """No index has when an event was written, so the positions that come into question are looked through."""
    end = feed.last(db).position
    if wanted.up_to is not None:
        end = min(end, wanted.up_to)
    first = _first(db, wanted.since) if after is None else int(str(after[0]))
    scanned = min(first + MOST_SCANNED, end)
    position = report.view.table.c.position
    fitting = report_rows.conditions(report.view, report.time, wanted, accounts)
    where = (position >= first, position <= scanned, *fitting)
    rows = report_rows.fetch(db, report, iter(where), after, limit + 1)
    if len(rows) > limit or scanned >= end:
        return report.cut(rows, limit)
    return Page(rows, (scanned + 1, ""))  # before the first change at that position


def _first(db: Connection, since: datetime | None) -> int:
    if since is None:
        return 1
    try:
        return feed.place(db, since - CLOCKS_DIFFER).position + 1
    except OverflowError:
        return 1
