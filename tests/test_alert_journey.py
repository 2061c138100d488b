"""The real service tells of starts that Telnyx refuses: at least once, with one id, whoever is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select

from service.sandbox import Answer, Behaviour, Sandbox
from service.store.watch_tables import alert
from tests.house import House, wait_until
from tests.webhooks.receiver import SECRET, AlertReceiver


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    one = AlertReceiver()
    yield one
    one.close()


def refused(house: House, sandbox: Sandbox, count: int) -> None:
    sandbox.behave(Behaviour(answer=Answer.error(401, code="10009", detail="Authentication failed")))
    for number in range(count):
        assert house.start(f"v3:call-{number}", connector_name="recorder").status_code == 502


def test_one_alert_is_told_of_and_acknowledged(
    build: Callable[..., House], sandbox: Sandbox, receiver: AlertReceiver
) -> None:
    house = build(ALERT_WEBHOOK_URL=receiver.url, ALERT_WEBHOOK_SECRET=SECRET)
    refused(house, sandbox, 3)

    def told() -> list[str]:
        found = [one.verified() for one in receiver.received]
        return [one["type"] for one in found if one["data"]["cause"] == "credentials"]

    wait_until(lambda: told() == ["alert.opened"], why=lambda: f"{told()} {house.web.log[-3000:]}")
    (shown,) = house.get("/v1/alerts").json()["alerts"]
    assert (shown["cause"], shown["affected"], shown["side"]) == ("credentials", 3, "us")
    acknowledged = house.post(f"/v1/alerts/{shown['id']}/ack").json()
    assert acknowledged["acknowledged_by"].startswith("key ")
    wait_until(lambda: told() == ["alert.opened", "alert.acknowledged"])
    assert "do-not-log-me" not in house.web.log
    assert SECRET not in house.web.log


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_two_processes_of_which_one_is_killed_open_one_and_tell_with_one_id(
    build: Callable[..., House], sandbox: Sandbox, receiver: AlertReceiver
) -> None:
    settings = {"ALERT_WEBHOOK_URL": receiver.url, "ALERT_WEBHOOK_SECRET": SECRET}
    first, second = build(**settings), build(**settings)
    receiver.status = 500  # so that whoever tried first is killed before it was taken
    refused(first, sandbox, 3)

    def ids() -> set[str]:
        found = [(one.id, one.verified()["data"]["cause"]) for one in receiver.received]
        return {id for id, cause in found if cause == "credentials"}

    wait_until(lambda: bool(ids()))
    first.web.kill_master()
    seen = len(receiver.received)
    receiver.status = 200
    wait_until(lambda: len(receiver.received) > seen, why=lambda: second.web.log[-3000:])
    assert len(ids()) == 1
    with second.database.read() as db:
        assert list(db.scalars(select(alert.c.cause))) == ["credentials"]
