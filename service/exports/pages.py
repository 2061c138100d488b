"""All pages of a report, one transaction each: so long as it takes, it holds up nobody."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from service.domain.access import Accounts
from service.store import feed
from service.store.engine import Database
from service.store.report_page import Key, Page, Report
from service.store.report_wanted import Wanted

ROWS_AT_ONCE: Final = 2000
ROWS_AMONG_MANY: Final = 1000  # where many are looked at for each that fits: a statement has its time limit


def position(database: Database) -> int:
    """Of the feed's last event. Raises DatabaseError."""
    with database.read() as db:
        return feed.last(db).position


def of(
    database: Database, report: Report, wanted: Wanted, accounts: Accounts, after: Key | None, up_to: int
) -> Iterator[Page]:
    """With all that is known up to that position; the timeline ends there. Raises DatabaseError.

    A report that is not in the order of positions shows each of its rows as it is when its page is read.
    PostgreSQL works on the next page while this one is written. SQLite would do so in this very process.
    """
    wanted = replace(wanted, up_to=up_to)
    limit = ROWS_AMONG_MANY if wanted.narrows_sessions else ROWS_AT_ONCE

    def fetch(after: Key | None) -> Page:
        with database.read() as db:
            return report.fetch(db, report, wanted, accounts, after, limit)

    with ThreadPoolExecutor(1, "ahead") as ahead:
        page = fetch(after)
        while page.after is not None:
            following = None if database.is_sqlite else ahead.submit(fetch, page.after)
            yield page
            page = following.result() if following else fetch(page.after)
        yield page
