"""Readers that wait are answered as soon as there is something, and cost nothing meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import requests

from service.sandbox import EVENTS, Behaviour
from tests.house import House


@pytest.fixture
def reader() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as readers:
        yield readers


def timed(ask: Callable[[], requests.Response]) -> tuple[requests.Response, float]:
    began = time.monotonic()
    return ask(), time.monotonic() - began


def waits(readers: ThreadPoolExecutor, house: House, path: str, **query: Any) -> Future[Any]:
    asked = readers.submit(timed, lambda: house.get(path, **query))
    time.sleep(0.5)
    assert not asked.done(), asked.result()[0].text
    return asked


def tell(house: House, event: str) -> None:
    """Telnyx calls back about the latest session."""
    body = house.sandbox.compose(house.sandbox.sessions[-1].sid, event, None, None)
    headers = {**house.sandbox.sign(body), "Content-Type": "application/x-www-form-urlencoded"}
    assert requests.post(house.callback_url(), body, headers=headers, timeout=30).status_code == 200


def test_a_session_is_shown_as_soon_as_it_is_started(house: House, reader: ThreadPoolExecutor) -> None:
    house.sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    session_id = house.start().json()["id"]
    asked = waits(reader, house, f"/v1/sessions/{session_id}", wait="started")
    over = waits(reader, house, f"/v1/sessions/{session_id}", wait="over")
    tell(house, "siprec-started")
    answer, seconds = asked.result()
    assert answer.json()["state"] == "started"
    assert seconds < 5
    assert not over.done()
    tell(house, "siprec-stopped")
    answer, seconds = over.result()
    assert answer.json()["state"] == "stopped"
    assert seconds < 10


def test_what_is_reached_already_is_shown_at_once(house: House) -> None:
    house.sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    session_id = house.start().json()["id"]
    _, seconds = timed(lambda: house.get(f"/v1/sessions/{session_id}", wait="accepted"))
    assert seconds < 5


def test_the_feed_is_answered_as_soon_as_there_is_something(house: House, reader: ThreadPoolExecutor) -> None:
    everything = waits(reader, house, "/v1/events", after="now", wait=20)
    others = waits(reader, house, "/v1/events", after="now", wait=3, connector_name="another")
    house.start(connector_name="recorder")
    answer, seconds = everything.result()
    assert answer.json()["events"]
    assert seconds < 10
    answer, seconds = others.result()
    assert answer.json()["events"] == []
    assert 2.9 < seconds < 15
