"""Reports that show rows of their view as they are, in the order of an index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from service.domain.access import Accounts
from service.store.accounts import sees_callback
from service.store.columns import read_back
from service.store.report_page import Key, Page, Report
from service.store.report_views import CALLBACKS, REJECTED, SESSIONS, Kind, Plain, Row, View
from service.store.report_wanted import Wanted, narrowed, of_session
from service.store.tables import callback


def page(
    db: Connection, report: Report, wanted: Wanted, accounts: Accounts, after: Key | None, limit: int
) -> Page:
    rows = fetch(db, report, conditions(report.view, report.time, wanted, accounts), after, limit + 1)
    return report.cut(rows, limit)


def fetch(
    db: Connection, report: Report, where: Iterator[ColumnElement[bool]], after: Key | None, limit: int
) -> list[Row]:
    view, of = report.view, report.view.table
    query = select(*view.read(of, db.dialect)).where(*where)
    if after is not None:
        key = tuple(_typed(report, name, value) for name, value in zip(report.key, after, strict=True))
        columns = [of.c[name] for name in report.key]
        # The first by itself too: not every index has all of them.
        query = query.where(columns[0] >= key[0], tuple_(*columns) > key)
    query = query.order_by(*(of.c[name] for name in report.key)).limit(limit)
    found = db.execute(query)
    assert found.cursor is not None
    rows = found.cursor.fetchall()  # past SQLAlchemy: a page takes a fifth less on PostgreSQL
    found.close()
    return view.plain(rows, db.dialect)


def conditions(view: View, time: str, wanted: Wanted, accounts: Accounts) -> Iterator[ColumnElement[bool]]:
    """Of the view; `time` names the column that a filter's times mean."""
    of = view.table
    if wanted.since is not None:
        yield of.c[time] >= wanted.since
    if wanted.until is not None:
        yield of.c[time] < wanted.until
    for own in (accounts, None if wanted.account_sid is None else frozenset({wanted.account_sid})):
        if own is not None:
            yield _of_accounts(view, own)
    if view is SESSIONS:
        yield from narrowed(of, of.c.session_id, wanted)
    elif wanted.narrows_sessions:
        yield of_session(wanted, of.c.session_id)


def _of_accounts(view: View, own: frozenset[str]) -> ColumnElement[bool]:
    of = view.table.c
    if view is CALLBACKS:  # as their list has it: by their session, or where they have none, as they prove
        its_own = select(callback.c.id).where(callback.c.id == of.callback_id, sees_callback(own))
        return its_own.exists()
    account_sid = of.claimed_account_sid if view is REJECTED else of.account_sid
    return account_sid.in_(sorted(own))


def _typed(report: Report, name: str, value: Plain) -> Any:
    return read_back(str(value)) if report.view.kind(name) is Kind.TIME else value


def count(db: Connection, report: Report, wanted: Wanted, accounts: Accounts) -> int:
    """Of all pages."""
    query = select(func.count()).select_from(report.view.table)
    return db.scalar(query.where(*conditions(report.view, report.time, wanted, accounts))) or 0
