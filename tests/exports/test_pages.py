"""A page of an export has as many rows as are soon read and small together, and none is missing for it."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from sqlalchemy import Connection, TextClause, text

from service.domain.access import ALL_ACCOUNTS, Accounts
from service.exports import formats, pages
from service.exports.formats import NDJSON
from service.store import sqlite
from service.store.engine import Database, DatabaseError
from service.store.report_page import Key, Page, Report
from service.store.report_views import Row
from service.store.report_wanted import Wanted
from service.store.reports import REPORTS

REJECTED = REPORTS["rejected"]
SLOW = text(
    "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 1000000) SELECT max(i) FROM n"
)


class Stored:
    """So many rows of a report, as they would be stored, and the pages in which they are read."""

    def __init__(
        self,
        rows: int,
        *,
        large_from: int | None = None,
        seconds_each: float = 0.0,
        executing: TextClause | None = None,
    ) -> None:
        self.rows = rows
        self._executing = executing
        self._large_from = rows if large_from is None else large_from
        self._seconds_each = seconds_each
        self.pages = list[int]()

    def export(self, database: Database, slowly_from: int | None = None) -> list[pages.Chunk]:
        """From so many rows on, each chunk is taken slowly."""
        report, found = replace(REJECTED, fetch=self._fetch), list[pages.Chunk]()
        made = formats.of(NDJSON, report.view, exact=False)
        for chunk in pages.chunks(database, report, Wanted(), ALL_ACCOUNTS, None, 0, made):
            found.append(chunk)
            if slowly_from is not None and slowly_from <= sum(one.rows for one in found):
                time.sleep(0.1)
        return found

    def _fetch(
        self,
        db: Connection,
        report: Report,
        wanted: Wanted,
        accounts: Accounts,
        after: Key | None,
        limit: int,
    ) -> Page:
        first = 0 if after is None else int(str(after[0]))
        numbers = range(first, min(first + limit, self.rows))
        self.pages.append(len(numbers))
        time.sleep(len(numbers) * self._seconds_each)
        if self._executing is not None:
            db.execute(self._executing)
        rows = [self._row(report, number) for number in numbers]
        return Page(rows, (numbers.stop,) if numbers.stop < self.rows else None)

    def _row(self, report: Report, number: int) -> Row:
        text = "x" * (5_000 if number >= self._large_from else 10)
        return (str(number), *(text for _ in report.view.columns[1:]))


def test_large_rows_are_few_at_once(database: Database) -> None:
    stored = Stored(20_000, large_from=10_000)
    chunks = stored.export(database)
    assert sum(chunk.rows for chunk in chunks) == sum(stored.pages) == stored.rows
    assert max(stored.pages) == pages.ROWS_AT_ONCE
    largest = max(len(chunk.content) / chunk.rows for chunk in chunks)
    assert max(stored.pages[-3:]) * largest < 1.01 * pages.BYTES_AT_ONCE


def test_rows_that_take_long_are_few_at_once(database: Database) -> None:
    stored = Stored(3_000, seconds_each=0.001)
    stored.export(database)
    assert sum(stored.pages) == stored.rows
    assert max(stored.pages) < 2 * pages.ROWS_AT_FIRST


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_page_may_take_longer_than_other_reads_from_sqlite(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "STATEMENT_SECONDS", 0.02)
    with pytest.raises(DatabaseError), database.read() as db:
        db.execute(SLOW)
    stored = Stored(10, executing=SLOW)
    assert sum(chunk.rows for chunk in stored.export(database)) == 10


def test_rows_that_are_taken_slowly_are_few_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "TAKEN_AT_ONCE", 0.1)
    stored = Stored(30_000)
    stored.export(database, slowly_from=10_000)
    assert sum(stored.pages) == stored.rows
    assert max(stored.pages) == pages.ROWS_AT_ONCE
    assert set(stored.pages[-3:-1]) == {pages.ROWS_AT_FIRST}
