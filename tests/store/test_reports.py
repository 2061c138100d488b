"""Pages of reports: together they are what the view says, whatever they are narrowed to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text, update

from service.domain.access import Accounts
from service.domain.state import State
from service.store import report_timeline
from service.store.engine import Database
from service.store.report_views import Kind
from service.store.report_wanted import Wanted
from service.store.reports import REPORTS
from service.store.tables import event
from tests.store.any_history import ACCOUNTS, AUTUMN, AnyHistory
from tests.store.told import Told, by_sql, in_order

BERLIN = ZoneInfo("Europe/Berlin")
SESSIONS = 90
ALL = Wanted()


def all_pages(
    database: Database,
    name: str,
    wanted: Wanted = ALL,
    accounts: Accounts = None,
    limit: int = 7,
) -> list[Told]:
    report, after, found = REPORTS[name], None, []
    while True:
        with database.read() as db:
            page = report.fetch(db, report, wanted, accounts, after, limit)
        assert len(page.rows) <= limit
        found += [said(name, row) for row in page.rows]
        if page.after is None:
            return found
        after = page.after


def said(name: str, row: Any) -> Told:
    view = REPORTS[name].view
    made = dict(zip(view.columns, row, strict=True))
    return {n: json.loads(v) if view.kind(n) is Kind.LABELS else v for n, v in made.items()}


@pytest.fixture(params=[1, 2])
def ledger(request: pytest.FixtureRequest, database: Database) -> Database:
    AnyHistory(request.param).write(database, SESSIONS)
    return database


@pytest.mark.parametrize("name", REPORTS)
def test_the_columns_are_those_of_the_view(database: Database, name: str) -> None:
    with database.read() as db:
        columns = db.execute(text(f"SELECT * FROM report_{name}_v1")).keys()
    assert list(REPORTS[name].view.columns) == list(columns)


@pytest.mark.parametrize("name", REPORTS)
def test_all_pages_are_what_the_view_says(ledger: Database, name: str) -> None:
    expected = by_sql(ledger, name)
    assert len(expected) > 10
    for limit in (1, 7, 1000):
        assert in_order(name, all_pages(ledger, name, limit=limit)) == expected


@pytest.mark.parametrize("name", ["sessions", "callbacks", "attempts", "rejected", "timeline"])
def test_the_oldest_come_first(ledger: Database, name: str) -> None:
    rows = all_pages(ledger, name)
    key = REPORTS[name].key[0]
    assert [row[key] for row in rows] == sorted(row[key] for row in rows)


def fits(sessions: dict[str, Told], **wanted: Any) -> Callable[[Told], bool]:
    """That the session of a row has these values."""

    def is_so(row: Told) -> bool:
        found = sessions.get(row["session_id"])
        return found is not None and all(found[name] == value for name, value in wanted.items())

    return is_so


def every_session(database: Database) -> dict[str, Told]:
    """Those that were merged too: what they did is theirs."""
    columns = "id AS session_id, account_sid, connector_name, state, reference, labels"
    with database.read() as db:
        rows = db.execute(text(f"SELECT {columns} FROM session")).mappings().all()
    return {row["session_id"]: {**row, "labels": _read(row["labels"])} for row in rows}


def _read(labels: Any) -> Any:
    return json.loads(labels) if isinstance(labels, str) else labels


@pytest.mark.parametrize("name", ["sessions", "callbacks", "timeline", "attempts"])
def test_each_filter_is_one_of_the_session(ledger: Database, name: str, subtests: pytest.Subtests) -> None:
    sessions, rows = every_session(ledger), by_sql(ledger, name)
    filters: list[tuple[Wanted, Callable[[Told], bool]]] = [
        (Wanted(connector_name="=cmd()"), fits(sessions, connector_name="=cmd()")),
        (Wanted(states=frozenset({State.FAILED})), fits(sessions, state="failed")),
        (Wanted(reference="plain"), fits(sessions, reference="plain")),
        (
            Wanted(labels=(("team", "plain"),)),
            lambda row: sessions.get(row["session_id"], {"labels": {}})["labels"].get("team") == "plain",
        ),
        (
            Wanted(connector_name="recorder", states=frozenset({State.STARTED, State.STOPPED})),
            lambda row: (
                fits(sessions, connector_name="recorder")(row)
                and sessions[row["session_id"]]["state"] in ("started", "stopped")
            ),
        ),
    ]
    for wanted, is_wanted in filters:
        with subtests.test(str(wanted)):
            expected = [row for row in rows if is_wanted(row)]
            assert expected
            assert in_order(name, all_pages(ledger, name, wanted)) == expected


@pytest.mark.parametrize("name", ["sessions", "callbacks", "timeline", "attempts", "rejected"])
def test_times_are_half_open(ledger: Database, name: str) -> None:
    rows, column = by_sql(ledger, name), REPORTS[name].time
    moments = sorted({row[column] for row in rows})
    since, until = moments[len(moments) // 3], moments[2 * len(moments) // 3]
    wanted = Wanted(since=datetime.fromisoformat(since), until=datetime.fromisoformat(until))
    expected = [row for row in rows if since <= row[column] < until]
    assert expected
    assert in_order(name, all_pages(ledger, name, wanted)) == expected


@pytest.mark.parametrize("name", ["sessions", "timeline", "attempts", "daily", "failures"])
def test_a_limited_key_s_report_is_the_other_one_filtered(ledger: Database, name: str) -> None:
    rows = by_sql(ledger, name)
    for own in ({"account-1"}, {"account-2", "account-3"}, {"nobody's"}, set()):
        expected = [row for row in rows if row["account_sid"] in own]
        assert in_order(name, all_pages(ledger, name, accounts=frozenset(own))) == expected


def test_callbacks_of_no_session_are_seen_by_whoever_proves_their_account(ledger: Database) -> None:
    sessions, rows = every_session(ledger), by_sql(ledger, "callbacks")
    for own in ({"account-1"}, {"account-2", "account-3"}):

        def is_seen(row: Told, own: set[str] = own) -> bool:
            if row["session_id"] is not None:
                return sessions[row["session_id"]]["account_sid"] in own
            return row["verified_by"] != "token" and row["method"] == "POST" and row["account_sid"] in own

        expected = [row for row in rows if is_seen(row)]
        assert expected
        assert in_order("callbacks", all_pages(ledger, "callbacks", accounts=frozenset(own))) == expected


@pytest.mark.parametrize("name", ["sessions", "callbacks", "timeline", "attempts", "daily", "failures"])
def test_an_account_is_filtered_as_a_key_of_it_would_see(ledger: Database, name: str) -> None:
    for account in ACCOUNTS:
        seen = all_pages(ledger, name, accounts=frozenset({account}))
        assert all_pages(ledger, name, Wanted(account_sid=account)) == seen
        assert all_pages(ledger, name, Wanted(account_sid=account), frozenset({"other"})) == []


def days_counted(ledger: Database, zone: ZoneInfo) -> Counter[tuple[str, str, str | None]]:
    return Counter(
        (
            datetime.fromisoformat(row["requested_at"]).astimezone(zone).date().isoformat(),
            row["account_sid"],
            row["connector_name"],
        )
        for row in by_sql(ledger, "sessions")
    )


@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia", "Asia/Kathmandu"]
)
def test_days_are_those_of_the_zone(ledger: Database, zone: str) -> None:
    rows = all_pages(ledger, "daily", Wanted(zone=zone))
    counted = {
        (row["day"], row["account_sid"], row["connector_name"]): row["asked"] + row["adopted"] for row in rows
    }
    assert counted == dict(days_counted(ledger, ZoneInfo(zone)))
    assert [row["day"] for row in rows] == sorted(row["day"] for row in rows)


def test_a_day_on_which_the_clocks_change_has_23_or_25_hours(ledger: Database) -> None:
    autumn = Wanted(
        since=datetime(2026, 10, 24, 22, tzinfo=UTC),
        until=datetime(2026, 10, 25, 23, tzinfo=UTC),
        zone="Europe/Berlin",
    )
    spring = Wanted(
        since=datetime(2027, 3, 27, 23, tzinfo=UTC),
        until=datetime(2027, 3, 28, 22, tzinfo=UTC),
        zone="Europe/Berlin",
    )
    for wanted, day in ((autumn, "2026-10-25"), (spring, "2027-03-28")):
        rows = all_pages(ledger, "daily", wanted)
        assert {row["day"] for row in rows} == {day}
        counted = sum(count for (one, _, _), count in days_counted(ledger, BERLIN).items() if one == day)
        assert sum(row["asked"] + row["adopted"] for row in rows) == counted > 0


@pytest.mark.parametrize("name", ["daily", "failures"])
def test_of_days_only_what_is_wanted_is_counted(ledger: Database, name: str) -> None:
    sessions = by_sql(ledger, "sessions")
    wanted = Wanted(reference="plain", states=frozenset({State.FAILED, State.REFUSED}))
    expected = [
        row
        for row in sessions
        if row["reference"] == "plain"
        and row["state"] in ("failed", "refused")
        and (name == "daily" or row["cause"] is not None)
    ]
    rows = all_pages(ledger, name, wanted)
    count = sum(row["sessions"] if name == "failures" else row["asked"] + row["adopted"] for row in rows)
    assert count == len(expected) > 0


@pytest.mark.parametrize("name", ["daily", "failures"])
def test_a_page_is_of_one_day_at_most(ledger: Database, name: str) -> None:
    report = REPORTS[name]
    with ledger.read() as db:
        first = report.fetch(db, report, ALL, None, None, 1000)
    assert first.after is not None
    assert len({row[report.view.columns.index("day")] for row in first.rows}) == 1


def test_an_empty_ledger_has_no_days(database: Database) -> None:
    assert all_pages(database, "daily", Wanted(zone="Europe/Berlin")) == []


def test_the_timeline_skips_what_was_numbered_before(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And looks at no more events than it says at once, though few of them fit."""
    monkeypatch.setattr(report_timeline, "MOST_SCANNED", 10)
    AnyHistory(3).write(database, SESSIONS)
    with database.begin() as db:
        for position in range(1, SESSIONS + 1):
            at = AUTUMN + timedelta(hours=position)
            changed = {"written_at": at, "numbered_at": at - timedelta(minutes=1)}
            db.execute(update(event).where(event.c.position == position).values(changed))
    rows = by_sql(database, "timeline")
    for first, last in ((0, 61), (45, 50), (30, 31), (1, 2)):
        wanted = Wanted(since=AUTUMN + timedelta(hours=first), until=AUTUMN + timedelta(hours=last))
        expected = [row for row in rows if first <= row["position"] < last]
        assert in_order("timeline", all_pages(database, "timeline", wanted)) == expected


def test_the_timeline_ends_where_it_is_told(ledger: Database) -> None:
    expected = [row for row in by_sql(ledger, "timeline") if row["position"] <= 20]
    assert in_order("timeline", all_pages(ledger, "timeline", Wanted(up_to=20))) == expected
