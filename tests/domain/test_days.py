"""Days of a time zone: they begin when they do there, whatever the clocks did."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from service.domain import days
from service.domain.days import NoSuchZone, WrongMoment

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-10-25", 25), ("2027-03-28", 23), ("2026-11-28", 24), ("2026-10-24", 24)]
)
def test_a_day_has_as_many_hours_as_it_has(day: str, hours: int) -> None:
    begins = days.begin(date.fromisoformat(day), BERLIN)
    ends = days.begin(date.fromisoformat(day) + days.ONE, BERLIN)
    assert ends - begins == timedelta(hours=hours)
    assert days.day_of(begins, BERLIN).isoformat() == day
    assert days.day_of(ends - timedelta(microseconds=1), BERLIN).isoformat() == day


def test_a_day_without_midnight_begins_when_the_clocks_were_put_forward() -> None:
    begins = days.begin(date(2018, 11, 4), ZoneInfo("America/Sao_Paulo"))
    assert begins == datetime(2018, 11, 4, 3, tzinfo=UTC)
    assert days.is_begin(begins, ZoneInfo("America/Sao_Paulo"))


@pytest.mark.parametrize("name", ["Berlin", "", "../etc/passwd", "/etc/passwd", "Europe", "\0", "x" * 500])
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(NoSuchZone):
        days.zone(name)


def test_a_span_is_of_days_or_of_times() -> None:
    by_days = days.span("2026-10-25", "2026-10-26", BERLIN, whole_days=True)
    by_times = days.span("2026-10-25T00:00:00+02:00", "2026-10-25T23:00:00Z", BERLIN, whole_days=True)
    assert (
        by_days
        == by_times
        == (
            datetime(2026, 10, 24, 22, tzinfo=UTC),
            datetime(2026, 10, 25, 23, tzinfo=UTC),
        )
    )
    assert days.span(None, None, BERLIN, whole_days=True) == (None, None)


@pytest.mark.parametrize(
    ("since", "until", "whole_days", "name"),
    [
        ("2026-11-31", None, False, "since"),
        ("20261128", None, False, "since"),
        ("2026-11-28T12:00:00", None, False, "since"),
        (None, "soon", False, "until"),
        ("0001-01-01", None, False, "since"),
        ("2026-11-28T12:00:00Z", None, True, "since"),
        (None, "2026-11-28T00:00:00Z", True, "until"),
        ("9999-12-31T23:59:59Z", None, True, "since"),
        ("2026-11-28", "2026-11-27", False, "until"),
    ],
)
def test_what_is_no_span_says_which_end_is_wrong(
    since: str | None, until: str | None, whole_days: bool, name: str
) -> None:
    with pytest.raises(WrongMoment) as wrong:
        days.span(since, until, BERLIN, whole_days=whole_days)
    assert wrong.value.name == name
