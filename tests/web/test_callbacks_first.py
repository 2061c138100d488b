"""What the service as a whole does so that callbacks come first."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from service import app
from service.web import callbacks, pace
from service.web.context import Context
from tests.web.indoors import Indoors, at_once

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

LONG = 0.05  # seconds of computing


@pytest.fixture
def computing(furnish: Callable[..., Indoors], monkeypatch: pytest.MonkeyPatch) -> Indoors:
    """With a GET /compute, which takes LONG. A callback may wait for as long as all tests take."""
    for limit in ("COMMIT_ONLY_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(f"service.ledger.intake.{limit}", 20.0)
    create = app.create

    def with_compute(context: Context) -> Flask:
        made = create(context)

        @made.get("/compute")
        def compute() -> str:
            began = time.thread_time()
            while time.thread_time() - began < LONG:
                pass
            return ""

        return made

    monkeypatch.setattr(app, "create", with_compute)
    return furnish()


def seconds_of_reading(indoors: Indoors, method: str) -> float:
    """Of four at once."""
    began = time.monotonic()
    with ThreadPoolExecutor(4) as readers:
        asked = [readers.submit(indoors.stranger.open, "/compute", method=method) for _ in range(4)]
        assert [one.result().status_code for one in asked] == [200] * 4
    return time.monotonic() - began


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_is_paced_while_a_callback_waits(
    computing: Indoors, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    computing.started()
    go_on = threading.Event()
    intake: Any = computing.context.services.intake
    write = intake._ingest.write

    def write_later(*arguments: Any, **options: Any) -> Any:
        go_on.wait(10)
        return write(*arguments, **options)

    monkeypatch.setattr(intake._ingest, "write", write_later)
    with at_once(lambda: computing.tell("siprec-started")) as told:
        while not intake.is_waited_for:
            time.sleep(0.001)
        assert seconds_of_reading(computing, method) > 2.5 * LONG / pace.SHARE
        go_on.set()
    assert told.result().status_code == 200


def test_rejections_are_paced(furnish: Callable[..., Indoors], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "REJECTIONS", 10)
    indoors = furnish()
    began = time.monotonic()
    for _ in range(15):
        assert indoors.stranger.post("/callbacks/siprec").status_code == 403
    assert time.monotonic() - began > 0.4


def test_large_bodies_that_nobody_can_judge_are_paced_too_and_counted(
    furnish: Callable[..., Indoors], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pace, "REJECTIONS", 10)
    monkeypatch.setattr(callbacks, "JUDGES", 0)
    monkeypatch.setattr(callbacks, "WAITING_FOR_JUDGES", 0)
    indoors = furnish()
    began = time.monotonic()
    for _ in range(15):
        answer = indoors.stranger.post("/callbacks/siprec", data=b"x" * (callbacks.JUDGED_HERE + 1))
        assert answer.status_code == 503
    assert time.monotonic() - began > 0.4
    indoors._loop.call(indoors._serving._traffic.tell)
    counts = re.findall("callback not judged, too many large bodies: ([0-9]+)", caplog.text)
    assert sum(map(int, counts)) == 15
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
