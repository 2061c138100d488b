"""Who follows the feed waits for the next event, and asks no sooner."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from service.domain.access import Access
from service.sandbox import EVENTS, Behaviour, Sandbox
from service.store import keys
from tests.house import House
from tests.ledger import lines
from tests.web.test_wait import LONG_BEFORE_SECONDS, REGISTERED_SECONDS, call_back, seconds


@pytest.fixture(autouse=True)
def _silent(sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))


@contextmanager
def following(house: House, *, key: str | None = None, **query: Any) -> Iterator[Future[Any]]:
    """A reader that waits by the time of the block."""
    headers = {"Authorization": f"Bearer {key or house.key}"}
    query = {"wait": 20, "after": "now", **query}

    def ask() -> requests.Response:
        return requests.get(f"{house.web.url}/v1/events", params=query, headers=headers, timeout=40)

    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(ask)
        time.sleep(REGISTERED_SECONDS)
        yield asked


def all_numbered(house: House) -> str:
    """The cursor of the end, once everything that was written has its position."""
    lines.number_all(house.database)
    return str(house.get("/v1/events", after="now").json()["next"])


@pytest.mark.parametrize("after", ["now", "the end"])
def test_a_reader_is_answered_as_soon_as_there_is_an_event(house: House, after: str) -> None:
    session_id = house.start().json()["id"]
    end = all_numbered(house)
    with following(house, after=end if after == "the end" else after) as asked:
        assert not asked.done()
        call_back(house)
        answer = asked.result()
    [event] = answer.json()["events"]
    assert (event["subject"], event["data"]["session"]["state"]) == (session_id, "started")
    assert answer.json()["next"] == all_numbered(house)
    assert seconds(answer) < LONG_BEFORE_SECONDS


def test_what_is_there_already_is_answered_at_once(house: House) -> None:
    house.start()
    end = all_numbered(house)
    for query in ({"limit": 1}, {"limit": 100}, {"after": "now", "wait": 0}):
        answer = house.get("/v1/events", **{"after": "start", "wait": 20, **query})
        assert seconds(answer) < LONG_BEFORE_SECONDS
        assert (answer.json()["next"] == end) == (query != {"limit": 1})


def test_events_that_come_together_are_read_together(house: House) -> None:
    session_id = house.start().json()["id"]
    all_numbered(house)
    with following(house) as asked:
        lines.add(house.database, *[session_id] * 5)
        first = asked.result().json()
    all_numbered(house)
    rest = house.get("/v1/events", after=first["next"]).json()
    assert len(first["events"]) > 1
    assert len(first["events"]) + len(rest["events"]) == 5


@pytest.mark.parametrize("narrowed", ["session_id", "connector_name", "account_sid", "type", "key"])
def test_who_follows_some_waits_for_those(house: House, narrowed: str) -> None:
    wanted = {"connector_name": "two", "account_sid": "account-2"}
    session_id = house.start("v3:call-2", **wanted).json()["id"]
    house.start("v3:call-1", connector_name="one")
    end = all_numbered(house)
    wanted |= {"session_id": session_id, "type": "siprec.session.created"}
    query: dict[str, Any] = {"after": end}
    if narrowed == "key":
        with house.database.begin() as db:
            access = Access(accounts=frozenset({"account-2"}))
            query["key"] = keys.create(db, "limited", datetime.now(UTC), access)
    else:
        query[narrowed] = wanted[narrowed]
    with following(house, **query) as asked:
        call_back(house, call_sid="v3:call-1")
        time.sleep(1)
        assert not asked.done()
        if narrowed == "type":
            house.start("v3:call-3")
        else:
            call_back(house, call_sid="v3:call-2")
        answer = asked.result()
    assert seconds(answer) < LONG_BEFORE_SECONDS
    events = answer.json()["events"]
    assert events
    if narrowed == "type":
        assert {event["type"] for event in events} == {"siprec.session.created"}
    else:
        assert {event["subject"] for event in events} == {session_id}


def test_at_the_end_of_its_time_a_reader_is_told_how_far_it_has_come(house: House) -> None:
    house.start()
    all_numbered(house)
    with following(house, account_sid="account-2", wait=2) as asked:
        call_back(house)
        answer = asked.result()
    assert seconds(answer) >= 2
    assert answer.json() == {"events": [], "next": all_numbered(house)}


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize("wait", ["21", "-1", "started"])
def test_how_long_one_may_wait_is_bounded(house: House, wait: str) -> None:
    answer = house.get("/v1/events", wait=wait)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/wait")
