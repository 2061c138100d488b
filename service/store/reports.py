"""Every report there is, by its name."""

from __future__ import annotations

from typing import Final

from service.store import report_days, report_rows, report_timeline
from service.store import report_views as views
from service.store.report_page import Report

BY_ACCOUNT: Final = frozenset({"account_sid"})
BY_SESSION: Final = BY_ACCOUNT | {"connector_name", "states", "reference", "labels"}
REPORTS: Final = {
    one.name: one
    for one in (
        Report(
            "sessions",
            views.SESSIONS,
            ("requested_at", "session_id"),
            "requested_at",
            report_rows.page,
            BY_SESSION,
        ),
        Report(
            "callbacks",
            views.CALLBACKS,
            ("received_at", "callback_id"),
            "received_at",
            report_rows.page,
            BY_SESSION,
        ),
        Report(
            "timeline",
            views.TIMELINE,
            ("position", "what"),
            "written_at",
            report_timeline.page,
            BY_SESSION,
        ),
        Report(
            "attempts",
            views.ATTEMPTS,
            ("requested_at", "session_id", "number"),
            "requested_at",
            report_rows.page,
            BY_SESSION,
        ),
        Report(
            "rejected",
            views.REJECTED,
            ("rejected_id",),
            "received_at",
            report_rows.page,
            BY_ACCOUNT,
            by_account=False,
        ),
        Report(
            "daily",
            views.DAILY,
            ("day", "account_sid", "connector_name"),
            "requested_at",
            report_days.page,
            BY_SESSION,
            by_day=True,
        ),
        Report(
            "failures",
            views.FAILURES,
            ("day", "account_sid", "connector_name", "cause", "cause_text"),
            "requested_at",
            report_days.page,
            BY_SESSION,
            by_day=True,
        ),
    )
}
