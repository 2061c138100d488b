"""The page with the buttons, over HTTP: what each does to calls, callbacks and the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from service.sandbox import Sandbox
from service.sandbox.calls import Calls
from service.sandbox.connection import Server
from service.sandbox.faults import Faults
from service.sandbox.freezer import Freezer
from service.sandbox.page import create_page
from tests.house import wait_until
from tests.sandbox.conftest import App

OWN = {"Sec-Fetch-Site": "same-origin"}
KILL, DROP, FREEZE, MEND = "/kill-recorder", "/drop-callbacks", "/freeze-database", "/mend-all"


@dataclass
class Bench:
    app: App
    calls: Calls
    faults: Faults
    database: Path
    url: str

    def press(self, path: str) -> requests.Response:
        return requests.post(self.url + path, headers=OWN, timeout=20)

    def page(self) -> requests.Response:
        return requests.get(self.url, timeout=20)

    def until_told(self, *events: str) -> None:
        """Ticks until the app's receiver has heard so many of each, in whatever order."""

        def is_told() -> bool:
            self.calls.tick()
            heard = list(self.app.receiver.events)
            return all(heard.count(event) >= events.count(event) for event in set(events))

        wait_until(is_told, why=lambda: f"{self.app.receiver.events}")

    def is_writable(self) -> bool:
        try:
            with closing(sqlite3.connect(self.database, timeout=0.1, isolation_level=None)) as db:
                db.execute("INSERT INTO line VALUES (1)")
        except sqlite3.OperationalError:
            return False
        return True


@contextmanager
def serving(faults: Faults) -> Iterator[str]:
    server = Server("127.0.0.1", 0, create_page(faults, "http://127.0.0.1:8000"))
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()


@pytest.fixture
def bench(app: App, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Calls begin when a button says so, but for the first, and end when one does."""
    for name in ("BETWEEN_SECONDS", "SHORTEST_SECONDS", "LONGEST_SECONDS"):
        monkeypatch.setattr(f"service.sandbox.calls.{name}", 3600.0)
    path = tmp_path / "ledger.sqlite3"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE line (number INTEGER)")
    calls = Calls(sandbox, lambda call_sid: str(app.start(call_sid).json()["sid"]))
    freezer = Freezer(path)
    faults = Faults(sandbox, calls, freezer, print)
    with serving(faults) as url:
        yield Bench(app, calls, faults, path, url)
    freezer.thaw()


def test_it_shows_four_buttons_what_they_do_and_what_to_watch(bench: Bench) -> None:
    page = bench.page().text
    for name in ("Kill the recorder", "Drop callbacks", "Freeze the database", "Mend all"):
        assert f">{name}</button>" in page
    assert page.count("<b>Watch.</b>") == 4
    assert "<script" not in page
    assert "style=" not in page


def test_a_dead_recorder_breaks_off_what_runs_and_fails_what_begins_while_calls_go_on(
    bench: Bench, sandbox: Sandbox
) -> None:
    bench.until_told("siprec-started")
    (running,) = bench.faults.live()
    assert running.is_recorded
    bench.press(KILL)
    bench.until_told("siprec-started", "siprec-stopped", "siprec-failed")
    assert [one.is_recorded for one in bench.faults.live()] == [False, False]
    for one in bench.faults.live():
        assert bench.app.get(f"/texml/Accounts/AC1/Calls/{one.call_sid}").json()["status"] == "in-progress"
    assert "The recorder is dead." in bench.page().text
    lost = {one.call_sid for one in bench.faults.live()}
    bench.press(MEND)
    bench.calls.tick()
    assert bench.faults.live() == []
    for sid in lost:
        assert bench.app.get(f"/texml/Accounts/AC1/Calls/{sid}").json()["status"] == "completed"
    assert "The recorder is dead." not in bench.page().text


def test_dropped_callbacks_come_late(bench: Bench) -> None:
    bench.until_told("siprec-started")
    bench.press(DROP)
    bench.calls.tick()
    assert len(bench.faults.live()) == 2
    assert bench.app.receiver.events == ["siprec-started"]
    assert "Callbacks are dropped." in bench.page().text
    bench.press(MEND)
    bench.until_told("siprec-started", "siprec-started")


def test_a_frozen_database_takes_nothing_and_a_call_ends_meanwhile(bench: Bench) -> None:
    bench.until_told("siprec-started")
    bench.press(FREEZE)
    assert not bench.is_writable()
    assert "The database is frozen." in bench.page().text
    bench.until_told("siprec-started", "siprec-stopped")
    bench.press(MEND)
    assert bench.is_writable()


def test_the_app_asks_again_until_the_ledger_takes_the_start(
    app: App, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.sandbox.calls.ASK_AGAIN_SECONDS", 0.05)
    asked: list[str] = []

    def ask(call_sid: str) -> str | None:
        asked.append(call_sid)
        return "a session" if len(asked) == 3 else None

    calls = Calls(sandbox, ask)

    def is_taken() -> bool:
        calls.tick()
        return calls.live()[0].session_id is not None

    wait_until(is_taken)
    calls.tick()
    assert asked == ["v3:live-001"] * 3
    assert [call.session_id for call in calls.live()] == ["a session"]


@pytest.mark.parametrize("path", [KILL, DROP, FREEZE, MEND])
@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://example.com"}, {**OWN, "Host": "example.com"}],
)
def test_nobody_else_presses_a_button(bench: Bench, path: str, headers: dict[str, str]) -> None:
    assert requests.post(bench.url + path, headers=headers, timeout=20).status_code == 403
    faults = bench.faults
    assert [faults.is_recorder_dead, faults.are_callbacks_held, faults.is_frozen] == [False] * 3


def test_a_browser_of_before_sends_its_origin(bench: Bench) -> None:
    assert requests.post(bench.url + MEND, headers={"Origin": bench.url}, timeout=20).status_code == 200


def test_it_may_be_framed_and_scripted_by_nobody(bench: Bench) -> None:
    for answer in (bench.page(), requests.get(f"{bench.url}/nowhere", timeout=20)):
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
