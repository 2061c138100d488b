"""When an alert opens, is told of again and ends, and what it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.domain import alerts, causes
from service.domain.alerts import Figures, NoticeKind, Subject
from service.domain.overdue import OverdueKind

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("code", "affected", "recent", "started", "opens"),
    [
        ("live_unrecorded", 1, 1, 1000, True),  # at once
        ("live_unrecorded", 1, 0, 0, True),
        ("live_unrecorded", 0, 5, 0, False),  # none is live any more
        ("credentials", 2, 2, 2, False),
        ("credentials", 3, 3, 1000, True),
        ("credentials", 1, 1, 49, False),
        ("credentials", 1, 1, 50, True),  # 2 % of 50
        ("credentials", 1, 1, 51, False),
        ("credentials", 2, 2, 100, True),
        ("credentials", 2, 2, 101, False),
        ("credentials", 0, 0, 1000, False),
        ("overdue_not_stopped", 2, 2, 3, False),
        ("overdue_not_stopped", 3, 3, 3, True),
        ("overdue_not_stopped", 0, 3, 3, False),  # all of them are over already
        ("unknown", 3, 3, 3, True),
    ],
)
def test_thresholds(code: str, affected: int, recent: int, started: int, opens: bool) -> None:
    assert alerts.is_to_open(code, Figures(affected, recent, started)) == opens


@pytest.mark.parametrize(
    ("affected", "noticed", "minutes", "is_acknowledged", "expected"),
    [
        (3, 3, 59, False, None),
        (3, 3, 60, False, NoticeKind.REMINDED),
        (3, 3, 60, True, None),
        (5, 3, 5, False, None),
        (6, 3, 1, False, NoticeKind.UPDATED),
        (6, 3, 0.9, False, None),
        (6, 3, 1, True, NoticeKind.UPDATED),
        (1, 0, 0.1, False, None),
    ],
)
def test_what_is_told_of_an_alert_that_stays_open(
    affected: int, noticed: int, minutes: float, is_acknowledged: bool, expected: NoticeKind | None
) -> None:
    told = alerts.next_notice(
        Figures(affected),
        noticed_affected=noticed,
        noticed_at=NOW - timedelta(minutes=minutes),
        is_acknowledged=is_acknowledged,
        now=NOW,
    )
    assert told is expected


def test_a_live_call_is_unrecorded_only_where_that_is_known() -> None:
    def code(kind: OverdueKind, *, unknown: bool = False, live: bool = True) -> str | None:
        return alerts.of_overdue(kind, is_unknown=unknown, is_call_live=live)

    assert code(OverdueKind.NOT_STARTED) == "live_unrecorded"
    assert code(OverdueKind.STOPPED_EARLY) == "live_unrecorded"
    assert code(OverdueKind.NOT_STOPPED) == "overdue_not_stopped"
    assert code(OverdueKind.NOT_STARTED, live=False) == "overdue_not_started"
    assert code(OverdueKind.NOT_STARTED, unknown=True) == "unknown"
    assert code(OverdueKind.NOT_ENDED) is None


def test_every_cause_has_words_and_leads_to_its_sessions() -> None:
    for code in [*causes.BY_CODE, alerts.LIVE.code]:
        subject = Subject(code, "recorder 1", "account-1")
        said = alerts.words(subject, 2, 5, is_over=False)
        assert "connector recorder 1, account account-1" in said
        assert said.endswith("2 calls are affected now.")
        assert alerts.words(subject, 0, 1, is_over=True).endswith("it touched 1 call.")
        assert alerts.path(subject).startswith("/sessions?")
        assert "connector_name=recorder+1" in alerts.path(subject)
    assert alerts.path(Subject("live_unrecorded")) == "/sessions?overdue=true"
    assert alerts.path(Subject("siprec_failed")) == "/sessions?state=failed"
    assert alerts.path(Subject("no_answer")) == "/sessions?state=unanswered"
    assert alerts.path(Subject("credentials")) == "/sessions?state=refused"
