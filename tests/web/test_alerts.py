"""Alerts over HTTP: who sees which, page by page, and who acknowledges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from service.domain.access import Scope
from service.ledger.alerts import Evaluation
from service.store.watch_tables import alert, session_watch
from service.web.alert_examples import ACKNOWLEDGED, ALERT
from tests.ledger.watching import add_session, overdue
from tests.web.indoors import Indoors

AN_ID = "018f0000-0000-7000-8000-000000000000"


@pytest.fixture
def opened(indoors: Indoors) -> list[dict[str, Any]]:
    """Of three accounts one each, the newest first."""
    database = indoors.context.database
    for account_sid in ("account-1", "account-2", "account-3"):
        with database.begin() as db:
            id = add_session(db, account_sid=account_sid, connector_name="recorder")
            overdue(db, id, "not_started", call_status="in-progress")
        Evaluation(database, sends=True).run(datetime.now(UTC))
    return list(indoors.limited(Scope.REPORTS).get("/v1/alerts").json["alerts"])


def test_open_and_ended_ones_are_listed_page_by_page(indoors: Indoors, opened: list[dict[str, Any]]) -> None:
    client = indoors.limited(Scope.REPORTS)
    assert [one["account_sid"] for one in opened] == ["account-3", "account-2", "account-1"]
    seen, query = [], {"limit": "1"}
    while True:
        page = client.get("/v1/alerts", query_string=query).json
        seen += page["alerts"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == opened
    with indoors.context.database.begin() as db:
        db.execute(update(session_watch).values(overdue_kind=None))
    Evaluation(indoors.context.database, sends=True).run(datetime.now(UTC) + timedelta(minutes=1))
    assert client.get("/v1/alerts?open=true").json["alerts"] == []
    ended = client.get("/v1/alerts?open=false").json["alerts"]
    assert [one["id"] for one in ended] == [one["id"] for one in opened]
    assert ended[0]["words"].endswith("This has ended; it touched 1 call.")


def test_each_is_as_the_document_shows_it(indoors: Indoors, opened: list[dict[str, Any]]) -> None:
    changing = {"id", "opened_at", "updated_at", "example_session_id", "acknowledged_at", "acknowledged_by"}
    acknowledged = indoors.client.post(f"/v1/alerts/{opened[2]['id']}/ack").json
    for shown, example in ((opened[2], ALERT), (acknowledged, ACKNOWLEDGED)):
        assert list(shown) == list(example)
        assert {name: text for name, text in shown.items() if name not in changing} == {
            name: text for name, text in example.items() if name not in changing
        }


def test_who_acknowledged_first_stays_and_says_so(indoors: Indoors, opened: list[dict[str, Any]]) -> None:
    path = f"/v1/alerts/{opened[0]['id']}/ack"
    first = indoors.bearing(indoors.new_key("on-duty")).post(path)
    assert (first.status_code, first.json["acknowledged_by"]) == (200, "on-duty")
    again = indoors.client.post(path)
    assert again.json == first.json
    with indoors.context.database.read() as db:
        row = db.execute(alert.select().where(alert.c.id == opened[0]["id"])).one()
    assert row.ended_at is None


def test_what_a_limited_key_may_not_see_does_not_exist_for_it(
    indoors: Indoors, opened: list[dict[str, Any]]
) -> None:
    client = indoors.limited(Scope.REPORTS, Scope.STOP, accounts={"account-2"})
    assert [one["account_sid"] for one in client.get("/v1/alerts").json["alerts"]] == ["account-2"]
    answers = [client.post(f"/v1/alerts/{id}/ack") for id in (opened[0]["id"], AN_ID)]
    assert {(one.status_code, one.json["title"]) for one in answers} == {(404, "Alert not found")}
    assert client.post(f"/v1/alerts/{opened[1]['id']}/ack").status_code == 200
