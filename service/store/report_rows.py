"""Reports that show rows of their view as they are, in the order of an index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, TableClause, func, select, tuple_

from service.domain.access import Accounts
from service.store.accounts import sees_callback
from service.store.columns import read_back
from service.store.report_page import Key, Page, Report
from service.store.report_views import Kind, Plain, Row
from service.store.report_wanted import Wanted, has_label, of_session
from service.store.tables import callback


def page(
    db: Connection, report: Report, wanted: Wanted, accounts: Accounts, after: Key | None, limit: int
) -> Page:
    rows = fetch(db, report, conditions(report, wanted, accounts), after, limit + 1)
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


def conditions(report: Report, wanted: Wanted, accounts: Accounts) -> Iterator[ColumnElement[bool]]:
    of = report.view.table
    if wanted.since is not None:
        yield of.c[report.time] >= wanted.since
    if wanted.until is not None:
        yield of.c[report.time] < wanted.until
    for own in (accounts, None if wanted.account_sid is None else frozenset({wanted.account_sid})):
        if own is not None:
            yield _of_accounts(of, own)
    if report.view.name == "report_sessions_v1":
        yield from narrowed(of, wanted)
    elif wanted.narrows_sessions:
        yield of_session(wanted, of.c.session_id)


def narrowed(sessions: TableClause, wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    """Of the view of sessions, those that fit by more than their account."""
    for name in ("connector_name", "reference"):
        if getattr(wanted, name) is not None:
            yield sessions.c[name] == getattr(wanted, name)
    if wanted.states:
        yield sessions.c.state.in_(sorted(wanted.states))
    for name, value in wanted.labels:
        yield has_label(name, value, sessions.c.session_id)


def _of_accounts(of: TableClause, own: frozenset[str]) -> ColumnElement[bool]:
    """A callback is an account's as its list has it: by its session, or where it has none, as it proves."""
    if "callback_id" in of.c and "verified_by" in of.c:
        its_own = select(callback.c.id).where(callback.c.id == of.c.callback_id, sees_callback(own))
        return its_own.exists()
    return of.c[_ACCOUNT.get(of.name, "account_sid")].in_(sorted(own))


_ACCOUNT = {"report_rejected_v1": "claimed_account_sid"}


def _typed(report: Report, name: str, value: Plain) -> Any:
    return read_back(str(value)) if report.view.kind(name) is Kind.TIME else value


def count(db: Connection, report: Report, wanted: Wanted, accounts: Accounts) -> int:
    """Of all pages."""
    query = select(func.count()).select_from(report.view.table)
    return db.scalar(query.where(*conditions(report, wanted, accounts))) or 0
