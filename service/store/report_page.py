"""What a report is, and a page of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from service.domain.access import Accounts
from service.store.report_views import Plain, Row, View
from service.store.report_wanted import Wanted

Key = tuple[Plain, ...]  # of a row: what tells it from those before and behind it


@dataclass(frozen=True)
class Page:
    """`after` is the key behind which the next page begins; None: this was the last one.

    A page may be short, or empty, although there is a next one.
    """

    rows: Sequence[Row]
    after: Key | None


# Of what fits and belongs to these accounts, what stands behind the key: so many rows at most.
FetchPage = Callable[[Connection, "Report", Wanted, Accounts, Key | None, int], Page]


@dataclass(frozen=True)
class Report:
    """`key` names the columns that order its rows, `time` the one that a filter's times mean.

    `filters` are the names of Wanted's that it has, besides times. One that is not `by_account` is for those
    who see all accounts. One that is `by_day` counts whole days: a filter's times are where they begin.
    """

    name: str
    view: View
    key: tuple[str, ...]
    time: str
    fetch: FetchPage
    filters: frozenset[str]
    by_account: bool = True
    by_day: bool = False

    def place(self, row: Row) -> Key:
        return tuple(row[self.view.columns.index(name)] for name in self.key)

    def cut(self, rows: Sequence[Row], limit: int) -> Page:
        """Of one row more than `limit`, if there is one."""
        if len(rows) <= limit:
            return Page(rows, None)
        return Page(rows[:limit], self.place(rows[limit - 1]))
