"""Messages about alerts come at least once, with the same id each time, whatever the receiver does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import delete, update

from service.store import alerts, processes
from service.store.engine import Database
from service.store.watch_tables import alert, session_watch
from service.webhooks import client
from service.webhooks.client import Receiver
from service.workers.alerts import LEASE, AlertEvaluation, AlertSender, WellBeat, message_of
from tests.ledger.watching import add_session, overdue
from tests.webhooks.receiver import SECRET, AlertReceiver

BASE = "https://ledger.example"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    one = AlertReceiver()
    yield one
    one.close()


def open_one(database: Database) -> None:
    with database.begin() as db:
        overdue(db, add_session(db), "not_started", call_status="in-progress")
    AlertEvaluation(database, sends=True).run_once(now())


def sender(database: Database, receiver: AlertReceiver) -> AlertSender:
    return AlertSender(database, Receiver(receiver.url, "standard", SECRET, now), BASE)


def let_time_pass(database: Database) -> None:
    """What is to be tried later is to be tried now."""
    with database.begin() as db:
        past = now() - timedelta(seconds=1)
        db.execute(update(alert).where(alert.c.notice_at.is_not(None)).values(notice_at=past))


def test_an_alert_is_sent_once_where_it_is_taken(database: Database, receiver: AlertReceiver) -> None:
    open_one(database)
    for _ in range(3):
        sender(database, receiver).run_once(now())
    (one,) = receiver.received
    data = one.verified()["data"]
    assert one.id == f"{data['id']}.1"
    assert data["words"].endswith("1 call is affected now.")
    assert data["link"].startswith(f"{BASE}/sessions?overdue=true")
    assert (data["state"], data["cause"], data["side"]) == ("open", "live_unrecorded", "recorder")


def test_a_receiver_that_fails_is_asked_again_later_with_the_same_id(
    database: Database, receiver: AlertReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    open_one(database)
    receiver.status = 500
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            sender(database, receiver).run_once(now())
            sender(database, receiver).run_once(now())  # not yet
            let_time_pass(database)
        receiver.status = 204
        sender(database, receiver).run_once(now())
    assert len(receiver.received) == 4
    assert len({one.id for one in receiver.received}) == 1
    assert "do-not-log-me" not in caplog.text
    assert SECRET not in caplog.text
    assert [record.levelname for record in caplog.records if "not sent" in record.message] == ["ERROR"]
    with database.read() as db:
        assert alerts.next_notice_at(db) is None


def test_it_is_never_given_up_while_the_alert_is_open_and_a_day_after_it_ended(
    database: Database, receiver: AlertReceiver
) -> None:
    open_one(database)
    receiver.status = 500
    with database.begin() as db:
        old = now() - timedelta(days=9)
        db.execute(update(alert).values(opened_at=old, noticed_at=old, notice_tries=5000))
    sender(database, receiver).run_once(now())
    with database.begin() as db:
        next_at = alerts.next_notice_at(db)
        assert next_at is not None
        assert next_at <= now() + timedelta(minutes=6)
        db.execute(update(alert).values(ended_at=now() - timedelta(days=2)))
    let_time_pass(database)
    sender(database, receiver).run_once(now())
    with database.read() as db:
        assert alerts.next_notice_at(db) is None


def test_what_a_process_leaves_unsent_when_it_dies_is_sent_by_the_next(
    database: Database, receiver: AlertReceiver
) -> None:
    open_one(database)
    with database.begin() as db:  # it had leased it, and died before it could send, or tell that it had
        leased = alerts.lease_notice(db, now(), LEASE)
    assert leased
    sender(database, receiver).run_once(now())
    assert receiver.received == []
    let_time_pass(database)
    sender(database, receiver).run_once(now())
    assert [one.id for one in receiver.received] == [message_of(leased, BASE).id]


def test_what_comes_up_while_a_message_is_sent_is_sent_too(
    database: Database, receiver: AlertReceiver
) -> None:
    open_one(database)
    with database.begin() as db:
        leased = alerts.lease_notice(db, now(), LEASE)
        assert leased
        db.execute(delete(session_watch))
    AlertEvaluation(database, sends=True).run_once(now())
    with database.begin() as db:
        alerts.notice_sent(db, leased)
    sender(database, receiver).run_once(now())
    (one,) = receiver.received
    assert one.verified()["type"] == "alert.ended"
    assert one.verified()["data"]["total"] == 1


def test_without_a_receiver_nothing_waits_to_be_sent(database: Database) -> None:
    with database.begin() as db:
        overdue(db, add_session(db), "not_started", call_status="in-progress")
    AlertEvaluation(database, sends=False).run_once(now())
    with database.read() as db:
        assert len(alerts.open_alerts(db)) == 1
        assert alerts.next_notice_at(db) is None


def test_the_heartbeat_is_sent_only_while_all_is_well(database: Database, receiver: AlertReceiver) -> None:
    beat = WellBeat(database, partial(client.beat, receiver.url))
    beat.run_once(now())
    assert receiver.received == []
    with database.begin() as db:
        processes.beat(db, "p1", "host-a", None, None)
    beat.run_once(now())
    assert len(receiver.received) == 1
    open_one(database)
    beat.run_once(now())
    assert len(receiver.received) == 1
