"""Journey: two processes watch, and one is killed while it asks: nothing twice, and every alert is told of.

test_alert_journey kills the one that tells, ledger/test_watches_at_once the one that decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from service.sandbox import Answer, Behaviour, Sandbox
from service.store.tables import event
from service.store.watch_tables import alert
from tests.house import House, wait_until
from tests.test_overdue import ALL
from tests.webhooks.receiver import SECRET, AlertReceiver

COUNT = 40
SOME = 5
SETTINGS = {"OVERDUE_START_SECONDS": "2", "ASK_CALLS_PER_MINUTE": "1000"}


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    one = AlertReceiver()
    yield one
    one.close()


def asked(sandbox: Sandbox) -> Counter[str]:
    """How often, by call."""
    return Counter(one.path for one in sandbox.requests if one.method == "GET")


def opened(house: House) -> list[str]:
    """The sessions of which it was said that they are overdue, each time that it was."""
    with house.database.read() as db:
        return list(db.scalars(select(event.c.subject_id).where(event.c.kind == "overdue")))


def told(receiver: AlertReceiver) -> dict[str, set[str]]:
    """alert -> the ids of the messages that it was opened; `received` may come to more meanwhile."""
    found: dict[str, set[str]] = {}
    for one in list(receiver.received):
        document: Any = one.verified()
        if document["type"] == "alert.opened":
            found.setdefault(document["data"]["id"], set()).add(one.id)
    return found


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_two_watches_of_which_one_is_killed(
    build: Callable[..., House], sandbox: Sandbox, receiver: AlertReceiver, tmp_path: Path
) -> None:
    settings = {**SETTINGS, "ALERT_WEBHOOK_URL": receiver.url, "ALERT_WEBHOOK_SECRET": SECRET}
    settings["SPOOL_DIR"] = str(
        tmp_path / "spool"
    )  # of one host, or nobody would know what lies on the other
    first, second = build(**settings), build(**settings)
    sandbox.behave(Behaviour(drop=ALL, call_answer=Answer(delay_seconds=0.5)))
    with ThreadPoolExecutor(4) as pool:
        calls = [f"v3:call-{number}" for number in range(COUNT)]
        sessions = {answer.json()["id"] for answer in pool.map(second.start, calls)}
    assert len(sessions) == COUNT
    wait_until(lambda: len(asked(sandbox)) >= SOME)
    first.web.kill_master()  # with the answers that it waits for, and what it had yet to ask

    wait_until(lambda: set(opened(second)) == sessions, why=lambda: second.web.log[-3000:])
    wait_until(lambda: bool(told(receiver)))
    assert Counter(opened(second)) == Counter(sessions)
    assert set(asked(sandbox).values()) == {1}  # what was lost is asked for a minute later

    def alerts() -> list[tuple[str, str]]:
        with second.database.read() as db:
            return [(row.cause, row.id) for row in db.execute(select(alert.c.cause, alert.c.id))]

    wait_until(lambda: told(receiver).keys() == {id for _, id in alerts()}, why=lambda: f"{alerts()}")
    assert len(dict(alerts())) == len(alerts())
    assert dict(alerts()).keys() <= {"live_unrecorded", "overdue_not_started"}
    assert all(len(ids) == 1 for ids in told(receiver).values())
