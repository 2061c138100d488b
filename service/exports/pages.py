"""All of a report, page by page, one transaction each: so long as it takes, it holds up nobody."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from service.domain.access import Accounts
from service.exports.formats import Format
from service.store import feed
from service.store.engine import Database
from service.store.report_page import Key, Page, Report
from service.store.report_wanted import Wanted

ROWS_AT_FIRST: Final = 500
GROWTH: Final = 4  # at most, from page to page
ROWS_AT_ONCE: Final = 4000  # of small rows: planning a page on PostgreSQL takes as long as 1,000 of them
ROWS_AMONG_MANY: Final = 1000  # where many are looked at for each that fits
BYTES_AT_ONCE: Final = 4 * 1024 * 1024  # as they are written: a page of larger rows has fewer
SECONDS_AT_ONCE: Final = 0.5  # likewise: a statement has its time limit, and this process what others leave
TAKEN_AT_ONCE: Final = (
    1.0  # seconds; likewise: for who takes it slowly, the database has little to do at once
)
SHORTEST: Final = 0.001  # seconds
# SQLite reads in this process, which may be left next to nothing of the processor; it holds up nobody.
SQLITE_SECONDS: Final = 60.0  # a page
ROWS_IN_A_CHUNK: Final = 500


@dataclass(frozen=True)
class Chunk:
    """So many rows, as they are written."""

    rows: int
    content: bytes


def position(database: Database) -> int:
    """Of the feed's last event. Raises DatabaseError."""
    with database.read() as db:
        return feed.last(db).position


def chunks(
    database: Database,
    report: Report,
    wanted: Wanted,
    accounts: Accounts,
    after: Key | None,
    up_to: int,
    made: Format,
) -> Iterator[Chunk]:
    """With all that is known up to that position; the timeline ends there. Raises DatabaseError.

    A report that is not in the order of positions shows each of its rows as it is when its page is read.
    PostgreSQL works on the next page while this one is written. SQLite would do so in this very process.
    """
    wanted = replace(wanted, up_to=up_to)
    most = ROWS_AMONG_MANY if wanted.narrows_sessions else ROWS_AT_ONCE

    def read(after: Key | None, limit: int) -> tuple[Page, _Cost]:
        began = time.monotonic()
        with database.read(began + SQLITE_SECONDS if database.is_sqlite else None) as db:
            page = report.fetch(db, report, wanted, accounts, after, limit)
        return page, _Cost(limit, time.monotonic() - began)

    with ThreadPoolExecutor(1, "ahead") as ahead:
        limit = min(ROWS_AT_FIRST, most)
        page, cost = read(after, limit)
        while (after := page.after) is not None:
            following = None if database.is_sqlite else ahead.submit(read, after, limit)
            began = time.monotonic()
            size = yield from _chunks(page, made)
            del page  # before the next one is in memory too
            limit = min(most, cost.next_limit(size, time.monotonic() - began))
            page, cost = following.result() if following else read(after, limit)
        yield from _chunks(page, made)


@dataclass(frozen=True)
class _Cost:
    """Of a page of so many rows at most."""

    limit: int
    seconds: float

    def next_limit(self, size: int, taken: float) -> int:
        """Where that page was of so many bytes, which were taken in so many seconds."""
        share = min(
            BYTES_AT_ONCE / max(size, 1),
            SECONDS_AT_ONCE / max(self.seconds, SHORTEST),
            max(TAKEN_AT_ONCE / max(taken, SHORTEST), ROWS_AT_FIRST / self.limit),
            GROWTH,
        )
        return max(1, round(self.limit * share))


def _chunks(page: Page, made: Format) -> Generator[Chunk, None, int]:
    """Returns their bytes together."""
    size = 0
    for first in range(0, len(page.rows), ROWS_IN_A_CHUNK):
        rows = page.rows[first : first + ROWS_IN_A_CHUNK]
        content = made.rows(rows)
        yield Chunk(len(rows), content)
        size += len(content)
    return size
