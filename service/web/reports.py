"""Reports, selected from the reporting views: as pages of JSON, or whole as CSV or NDJSON."""

from __future__ import annotations

import time
from typing import Final

from flask import Blueprint, request

from service.domain.access import Accounts, Scope
from service.exports.formats import Ndjson
from service.exports.order import ExportOrder
from service.store.json import canonical_json, read_json
from service.store.report_page import Key, Page, Report
from service.store.report_views import Row
from service.store.report_wanted import Wanted
from service.store.reports import REPORTS
from service.web import auth, context, exports, pace
from service.web.cursor import ListPages
from service.web.operation import Answer, operation
from service.web.problems import Problem
from service.web.report_examples import CSV, EXPORTS, NDJSON
from service.web.report_queries import ReportFormat, ReportQuery, SessionReportQuery
from service.web.report_rows import PAGES

PAGE_SECONDS: Final = 5.0  # after which it is left short
JSON: Final = "application/json"
FORMATS: Final = {JSON: ReportFormat.JSON, CSV: ReportFormat.CSV, NDJSON: ReportFormat.NDJSON}
CONTENT_TYPES: Final = {ReportFormat.CSV: f"{CSV}; charset=utf-8", ReportFormat.NDJSON: NDJSON}
VARIES: Final = {"Vary": "Accept"}
DAYS: Final = "`since` and `until` are days of `zone`, or the moments in which they begin."
SUMMARIES: Final = {
    "sessions": "Report sessions",
    "callbacks": "Report callbacks",
    "timeline": "Report all changes",
    "attempts": "Report attempts to start",
    "rejected": "Report rejected callbacks",
    "daily": "Count sessions by day",
    "failures": "Count failures by cause",
}
TELLS: Final = {
    "sessions": "A row for each session.",
    "callbacks": "A row for each callback.",
    "timeline": "A row for each change of a fact of a session, in the order of positions. `account_sid` is "
    "the session's as it was then.",
    "attempts": "A row for each time that Telnyx was asked to start a session.",
    "rejected": "A row for each delivery that was rejected and is still kept. For keys that see all "
    "accounts: nothing vouches for what it claims.",
    "daily": f"A row for each day, account and connector. {DAYS}",
    "failures": f"A row for each day, account, connector and cause, with the side that can mend it. {DAYS}",
}
OF_ALL: Final = """

Its columns are those of `{view}`, which the analysts' manual explains. The oldest come first; `since`
and `until` are times of `{time}`. A page may be short, or empty, although its `next_cursor` says that there
is more.

CSV and NDJSON have all rows at once, and a last line of their own: how many rows there are, up to which
position of the feed all is in it; or that it failed, and the rest is missing. Without that line it was cut
off. A few exports run at a time; beyond, 503 with `Retry-After`."""

blueprint = Blueprint("reports", __name__, url_prefix="/v1/reports")
blueprint.before_request(auth.api_key)
blueprint.after_request(context.add_spool_age)


def _add(report: Report) -> None:
    def view(query: ReportQuery) -> Answer:
        return _answer(report, query)

    view.__doc__ = TELLS[report.name] + OF_ALL.format(view=report.view.name, time=report.time)
    model = SessionReportQuery if "connector_name" in report.filters else ReportQuery
    declare = operation(
        f"report{report.name.capitalize()}",
        SUMMARIES[report.name],
        answers={200: PAGES[report.name]},
        problems=("too-many-exports", "export-failed", *(() if report.by_account else ("not-found",))),
        scope=Scope.REPORTS,
        query=model,
        files=EXPORTS[report.name],
    )
    blueprint.add_url_rule(f"/{report.name}", report.name, declare(view), methods=["GET"])


def _answer(report: Report, query: ReportQuery) -> Answer:
    accounts, wanted = auth.accounts(), query.wanted(by_day=report.by_day)
    if accounts is not None and not report.by_account:
        raise Problem("not-found", "It is for keys that see all accounts")
    pages = ListPages(context.current().cursors, f"report-{report.name}", query.filters())
    place = pages.place(query.cursor)
    after: Key | None = None if place is None else tuple(read_json(place[0]))
    format_ = query.format or _accepted()
    if format_ is not ReportFormat.JSON:
        return _export(
            report,
            ExportOrder(
                context.current().database_url, report.name, wanted, accounts, format_, query.exact, after
            ),
        )
    pace.ask_much()
    page = _page(report, wanted, accounts, after, query.limit)
    cursor = None if page.after is None else pages.after(canonical_json(page.after))
    return Answer(_document(report, page, cursor), headers=VARIES)


def _page(report: Report, wanted: Wanted, accounts: Accounts, after: Key | None, limit: int) -> Page:
    """Part by part, a transaction each. It is left short, to be gone on with in a turn of its own, after a
    while, or as soon as callbacks wait and have paid for it.
    """
    rows, until = list[Row](), time.monotonic() + PAGE_SECONDS
    while True:
        with context.current().database.read() as db:
            page = report.fetch(db, report, wanted, accounts, after, limit - len(rows))
        rows += page.rows
        is_over = page.after is None or len(rows) == limit
        if is_over or time.monotonic() > until or pace.has_debt():
            return Page(rows, page.after)
        after = page.after


def _accepted() -> ReportFormat:
    return FORMATS[request.accept_mimetypes.best_match(FORMATS, JSON)]


def _document(report: Report, page: Page, cursor: str | None) -> str:
    rows = b",".join(Ndjson(report.view).objects(page.rows)).decode()
    return f'{{"rows":[{rows}],"next_cursor":{canonical_json(cursor)}}}'


def _export(report: Report, order: ExportOrder) -> Answer:
    exports.leave(order)
    now = context.current().services.clock()
    name = f"{report.name}-{now:%Y%m%dT%H%M%SZ}.{order.format_name}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', **VARIES}
    return Answer("", headers=headers, media_type=CONTENT_TYPES[ReportFormat(order.format_name)])


for _report in REPORTS.values():
    _add(_report)
