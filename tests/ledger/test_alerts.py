"""Alerts are opened once, kept up to date, and ended with the sum, whichever process looks."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from service.domain.access import Access, Scope
from service.domain.alerts import NoticeKind
from service.ledger import alert_notices
from service.ledger.alerts import Evaluation
from service.store import alerts, feed
from service.store.alerts import Alert
from service.store.engine import Database
from service.store.feed import Wanted
from service.store.tables import event, session
from service.store.watch_tables import alert_case, session_watch
from tests.ledger.lines import number_all
from tests.ledger.watching import add_session, overdue

NOW = datetime.now(UTC)
MINUTE = timedelta(minutes=1)


def all_alerts(database: Database) -> list[Alert]:
    with database.read() as db:
        return alerts.page(db, None, None, None, 100)


def evaluate(database: Database, now: datetime = NOW) -> list[Alert]:
    Evaluation(database, sends=True).run(now)
    return all_alerts(database)


def fail(database: Database, count: int, at: datetime = NOW, **columns: Any) -> None:
    """So many sessions that Telnyx refused for our key, each with its event."""
    for _ in range(count):
        with database.begin() as db:
            error: dict[str, Any] = {
                "answer": "refused",
                "answer_error_kind": "credentials",
                "answer_status": 401,
            }
            id = add_session(db, state="refused", answered_at=at, requested_at=at, **error, **columns)
            _event(db, id, "refused", at)
    number_all(database)


def _event(db: Any, session_id: str, state: str, at: datetime) -> None:
    last = feed.last(db).position
    values: dict[str, Any] = {
        "subject_kind": "session",
        "subject_id": session_id,
        "kind": "changed",
        "actor": "telnyx",
    }
    values |= {"correction": False, "changes": {}, "happened_at": at, "written_at": at, "digest": b"x"}
    if db.dialect.name == "sqlite":
        values |= {"position": last + 1, "numbered_at": at}
    db.execute(insert(event).values(**values, state=state, account_sid="account"))


def test_a_live_call_that_is_probably_not_recorded_opens_an_alert_at_once(database: Database) -> None:
    with database.begin() as db:
        id = add_session(db)
        overdue(db, id, "not_started", call_status="in-progress")
    (one,) = evaluate(database)
    assert (one.cause, one.connector_name, one.account_sid) == ("live_unrecorded", "recorder-1", "account")
    assert (one.affected, one.total, one.example) == (1, 1, id)
    assert (one.notice, one.notice_kind, one.notice_at) == (1, NoticeKind.OPENED, NOW)
    with database.begin() as db:
        db.execute(delete(session_watch))
    (ended,) = evaluate(database, NOW + MINUTE)
    assert (ended.id, ended.ended_at, ended.affected, ended.total) == (one.id, NOW + MINUTE, 0, 1)
    assert (ended.notice, ended.notice_kind) == (2, NoticeKind.ENDED)


def test_two_failures_open_nothing_and_a_third_does_until_none_came_for_ten_minutes(
    database: Database,
) -> None:
    fail(database, 2)
    assert evaluate(database) == []
    fail(database, 1)
    (one,) = evaluate(database)
    assert (one.cause, one.affected, one.total) == ("credentials", 3, 3)
    fail(database, 4, NOW + MINUTE)
    (one,) = evaluate(database, NOW + 2 * MINUTE)
    assert (one.affected, one.total, one.notice_kind) == (7, 7, NoticeKind.UPDATED)
    (one,) = evaluate(database, NOW + 10.5 * MINUTE)
    assert (one.affected, one.total, one.ended_at) == (4, 7, None)
    (one,) = evaluate(database, NOW + 13 * MINUTE)
    assert (one.affected, one.total, one.ended_at) == (0, 7, NOW + 13 * MINUTE)


def test_one_failure_of_fifty_starts_opens_an_alert(database: Database) -> None:
    with database.begin() as db:
        for _ in range(48):
            add_session(db, requested_at=NOW)
    fail(database, 1)
    assert evaluate(database) == []
    with database.begin() as db:
        add_session(db, requested_at=NOW)
    assert [one.cause for one in evaluate(database)] == ["credentials"]


def test_there_is_one_of_each_cause_connector_and_account(database: Database) -> None:
    fail(database, 3)
    fail(database, 3, connector_name="recorder-2")
    fail(database, 3, account_sid="other")
    fail(database, 2, connector_name=None)
    found = {(one.connector_name, one.account_sid) for one in evaluate(database)}
    assert found == {("recorder-1", "account"), ("recorder-2", "account"), ("recorder-1", "other")}


def test_a_failure_that_was_written_long_ago_opens_nothing(database: Database) -> None:
    fail(database, 5, NOW - 11 * MINUTE)
    assert evaluate(database) == []


def test_it_is_reminded_hourly_until_somebody_acknowledges_it(database: Database) -> None:
    with database.begin() as db:
        overdue(db, add_session(db), "not_started", call_status="in-progress")
    (one,) = evaluate(database)
    (one,) = evaluate(database, NOW + 59 * MINUTE)
    assert one.notice == 1
    (one,) = evaluate(database, NOW + 60 * MINUTE)
    assert (one.notice, one.notice_kind) == (2, NoticeKind.REMINDED)
    with database.begin() as db:
        at = NOW + 61 * MINUTE
        acknowledged = alert_notices.acknowledge(db, one.id, None, "on duty", at, sends=True)
        assert acknowledged
        assert (acknowledged.acknowledged_by, acknowledged.notice) == ("on duty", 3)
        again = alert_notices.acknowledge(db, one.id, None, "somebody else", NOW + 62 * MINUTE, sends=True)
        assert again == acknowledged
    (one,) = evaluate(database, NOW + 300 * MINUTE)
    assert one.notice == 3


def test_a_limited_key_acknowledges_only_its_own(database: Database) -> None:
    with database.begin() as db:
        overdue(db, add_session(db), "not_started", call_status="in-progress")
    (one,) = evaluate(database)
    with database.begin() as db:
        other = frozenset({"other"})
        assert alert_notices.acknowledge(db, one.id, other, "k", NOW, sends=True) is None
        assert alerts.page(db, other, None, None, 10) == []
        assert alerts.page(db, frozenset({"account"}), True, None, 10) == [one]


def test_opening_acknowledging_and_ending_are_lines_of_the_feed_for_whom_they_concern(
    database: Database,
) -> None:
    with database.begin() as db:
        overdue(db, add_session(db), "not_started", call_status="in-progress")
    (one,) = evaluate(database)
    with database.begin() as db:
        alert_notices.acknowledge(db, one.id, None, "on duty", NOW, sends=True)
        db.execute(delete(session_watch))
    evaluate(database, NOW + MINUTE)
    number_all(database)

    def seen(access: Access) -> list[tuple[str, str]]:
        with database.read() as db:
            found = feed.places(db, Wanted(), access, 0, 100)
            lines = feed.lines(db, [one.position for one in found.places])
            return [(line.kind, line.actor) for line in lines if line.subject_kind == "alert"]

    everything = [("opened", "watch"), ("acknowledged", "on duty"), ("ended", "watch")]
    reports = frozenset({Scope.READ, Scope.REPORTS})
    assert seen(Access(reports)) == everything
    assert seen(Access(reports, frozenset({"account"}))) == everything
    assert seen(Access(reports, frozenset({"other"}))) == []
    assert seen(Access(frozenset({Scope.READ}))) == []
    assert seen(Access(frozenset({Scope.ADMIN, Scope.READ}))) == everything


def test_unknown_ones_are_no_unrecorded_calls(database: Database) -> None:
    with database.begin() as db:
        for _ in range(3):
            why = "unknown: callbacks may still wait on host B"
            overdue(db, add_session(db), "not_started", why, call_status="in-progress")
    assert [one.cause for one in evaluate(database)] == ["unknown"]


def test_an_alert_of_a_live_call_stays_the_same_where_what_was_certain_becomes_unknown(
    database: Database,
) -> None:
    with database.begin() as db:
        overdue(db, add_session(db), "not_started", call_status="in-progress")
    (one,) = evaluate(database)
    with database.begin() as db:
        db.execute(update(session_watch).values(overdue_why="unknown: callbacks may still wait on host B"))
    (still,) = evaluate(database, NOW + MINUTE)
    assert (still.id, still.cause, still.affected, still.ended_at) == (one.id, "live_unrecorded", 1, None)


def test_cases_are_deleted_once_they_count_for_nothing(database: Database) -> None:
    fail(database, 3)
    with database.begin() as db:
        overdue(db, add_session(db), "not_started", call_status="in-progress")
    evaluate(database)
    evaluate(database, NOW + 11 * MINUTE)
    with database.read() as db:
        assert list(db.scalars(select(alert_case.c.cause))) == ["live_unrecorded"]


def test_an_alert_that_opens_again_counts_from_then_on(database: Database) -> None:
    with database.begin() as db:
        first = add_session(db)
        overdue(db, first, "not_started", call_status="in-progress")
    evaluate(database)
    with database.begin() as db:
        db.execute(update(session_watch).values(overdue_kind=None))
    evaluate(database, NOW + MINUTE)
    with database.begin() as db:
        overdue(db, add_session(db), "not_started", call_status="in-progress")
    second, ended = evaluate(database, NOW + 2 * MINUTE)
    assert (ended.total, second.total, second.ended_at) == (1, 1, None)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_many_at_once_open_nothing_twice_and_count_nothing_twice(database: Database) -> None:
    fail(database, 40)
    with database.begin() as db:
        for _ in range(30):
            overdue(db, add_session(db), "not_started", call_status="in-progress")
    failed: list[BaseException] = []

    def run() -> None:
        try:
            Evaluation(database, sends=True).run(NOW)
        except BaseException as error:
            failed.append(error)

    for _ in range(3):
        threads = [threading.Thread(target=run) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
    found = {one.cause: (one.affected, one.total) for one in evaluate(database)}
    assert found == {"credentials": (40, 40), "live_unrecorded": (30, 30)}
    assert len(all_alerts(database)) == 2


def test_a_merged_session_is_nobodys_failure(database: Database) -> None:
    fail(database, 3)
    with database.begin() as db:
        keeper = add_session(db)
        db.execute(update(session).where(session.c.state == "refused").values(merged_into=keeper))
    assert evaluate(database) == []
