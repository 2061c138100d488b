"""`siprec-ledger follow`: every event once, whatever happens in between, and a clear end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from service.commands import follow
from service.commands.feed_client import Interrupted, Page
from service.domain.access import Access, Scope
from service.sandbox import EVENTS, Behaviour, Sandbox
from service.store import keys
from tests.bed import processes
from tests.house import House, wait_until

SECONDS = 30


class Follower:
    """The command, as a program whose output is read while it runs."""

    def __init__(self, folder: Path, url: str, key: str, *arguments: str) -> None:
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.program = subprocess.Popen(
                processes.ledger_command("follow", *arguments),
                env=processes.environment({"LEDGER_URL": url, "LEDGER_KEY": key}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def lines(self) -> list[str]:
        return self._out.read_text().splitlines()

    @property
    def errors(self) -> str:
        return self._err.read_text()

    def ended(self) -> int:
        """With this code."""
        return self.program.wait(SECONDS)

    def close(self) -> None:
        self.program.kill()
        self.program.wait()


@contextmanager
def following(folder: Path, house: House, *arguments: str, key: str | None = None) -> Iterator[Follower]:
    follower = Follower(folder, house.web.url, key or house.key, *arguments)
    try:
        yield follower
    finally:
        follower.close()


def everything(house: House) -> list[dict[str, Any]]:
    return list(house.get("/v1/events", limit=1000).json()["events"])


def test_it_prints_every_event_once_though_the_service_is_killed_and_started_again(
    house: House, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    house.start("v3:before")
    with following(tmp_path, house, "--json", "--after", "start") as follower:
        wait_until(lambda: len(follower.lines) == 2, why=lambda: follower.errors)
        house.web.kill_master()
        wait_until(lambda: "will go on by itself" in follower.errors)
        house.web.start()
        house.start("v3:after")
        wait_until(lambda: len(follower.lines) == 4, why=lambda: follower.errors)
        assert [json.loads(one) for one in follower.lines] == everything(house)
        house.web.stop()
        house.web.start()
        house.start("v3:later")
        wait_until(lambda: len(follower.lines) == 6, why=lambda: follower.errors)
        assert [json.loads(one)["data"]["position"] for one in follower.lines] == [1, 2, 3, 4, 5, 6]
        assert "goes on" in follower.errors
        assert "Traceback" not in follower.errors


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_it_begins_now_unless_told_otherwise_and_prints_a_line_for_each(
    house: House, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    house.start("v3:before")
    with following(tmp_path, house, "--type", "siprec.session.created") as follower:
        # It has begun once it waits.
        wait_until(lambda: house.web.log.count("GET /v1/events") >= 1)
        session_id = house.start("v3:after").json()["id"]
        wait_until(lambda: len(follower.lines) == 1, why=lambda: follower.errors)
        follower.program.send_signal(signal.SIGINT)
        assert follower.ended() == follow.STOPPED
        assert follower.errors == ""
        (shown,) = follower.lines
    name = house.session(session_id)["requested_by"]
    event = everything(house)[2]
    assert shown == f"{event['time']} {event['id']} {event['type']} {session_id} by {name}: state requested"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_it_ends_quietly_when_nobody_reads_on(house: House, tmp_path: Path) -> None:
    house.start("v3:before")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        processes.ledger_command("follow", "--after", "start"),
        env=processes.environment({"LEDGER_URL": house.web.url, "LEDGER_KEY": house.key}),
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=SECONDS,
    )
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode != 0


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_it_ends_with_what_is_wrong_and_what_to_do(
    house: House, sandbox: Sandbox, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    house.start()
    with house.database.begin() as db:
        starter = keys.create(db, "starter", datetime.now(UTC), Access(frozenset({Scope.START})))
    place = everything(house)[-1]["id"]
    cases = [
        (["--after", "7-00000000"], house.key, follow.RESTORED, f"The ledger ends at {place} now"),
        ([], "nobody's", follow.KEY_REFUSED, "401 API key unknown or revoked"),
        ([], starter, follow.KEY_REFUSED, "403 API key lacks the scope: It needs sessions:read"),
        (["--type", "siprec.nothing"], house.key, 2, "/type/0: Input should be"),
        (["--after", "yesterday"], house.key, 2, "/after: start, now, the next of a page"),
        (["--url", f"{house.web.url}/docs"], house.key, follow.REFUSED, "404 Not found"),
        (["--url", "ledger.example.com"], house.key, 2, "it has to be like https://"),
        ([], "", 2, "Set LEDGER_KEY"),
    ]
    for arguments, key, code, told in cases:
        with subtests.test(told):
            follower = Follower(tmp_path, house.web.url, key, *arguments)
            assert follower.ended() == code, follower.errors
            assert told in follower.errors
            assert follower.lines == []


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_key_that_is_revoked_meanwhile_ends_it(house: House, tmp_path: Path) -> None:
    with house.database.begin() as db:
        key = keys.create(db, "leaver", datetime.now(UTC))
    with following(tmp_path, house, "--after", "start", key=key) as follower:
        house.start()
        wait_until(lambda: len(follower.lines) >= 2, why=lambda: follower.errors)
        with house.database.begin() as db:
            keys.revoke(db, "leaver", datetime.now(UTC))
        house.start("v3:call-2")  # or it would wait for 20 s first
        assert follower.ended() == follow.KEY_REFUSED
        assert "401 API key unknown or revoked" in follower.errors


class _Other(BaseHTTPRequestHandler):
    """Something else than a ledger: at /moved/ it points elsewhere."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(302 if self.path.startswith("/moved/") else 200)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_the_key_is_not_sent_to_where_a_redirect_leads(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), _Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}"
            for path, told in {"/moved": "302 Found", "": "no siprec-ledger"}.items():
                follower = Follower(tmp_path, url + path, "key")
                assert follower.ended() == follow.REFUSED
                assert told in follower.errors
        finally:
            server.shutdown()
            thread.join()
    assert [one.partition("?")[0] for one in _Other.asked] == ["/moved/v1/events", "/v1/events"]


def test_it_pauses_longer_and_longer_and_as_long_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    said: list[str] = []
    answers: list[Page | Interrupted] = [
        Page([], "5-00000000"),
        *[Interrupted("away") for _ in range(7)],
        Interrupted("busy", 60),
        Page([], "6-00000000"),
        Interrupted("away"),
        Page([], "6-00000000"),
        Page([], "7-00000000"),
    ]
    asked: list[tuple[str, int]] = []

    def ask(after: str, wait: int) -> Page:
        asked.append((after, wait))
        answer = answers.pop(0)
        if isinstance(answer, Interrupted):
            raise answer
        return answer

    monkeypatch.setattr("service.commands.follow.time.sleep", slept.append)
    pages = follow.pages(ask, "now", said.append)
    shown = [next(pages).next for _ in range(4)]
    assert shown == ["5-00000000", "6-00000000", "6-00000000", "7-00000000"]
    # The last one: an empty page that came at once.
    assert slept == [1, 2, 4, 8, 16, 30, 30, 60, 1, 1]
    assert said == ["interrupted, will go on by itself: away", "goes on"] * 2
    assert asked[:2] == [("now", 0), ("5-00000000", 20)]


def test_whatever_somebody_wrote_stays_on_one_line_and_harmless() -> None:
    data = {
        "actor": "an app",
        "correction": True,
        "changes": {
            "state": ["stopped", "failed"],
            "error": [None, {"detail": "no\nway \x1b[2J"}],
            "name": [None, "a\x9b\u2028b é"],
            "attempts": [1, 2],
        },
    }
    event = {"time": "T", "id": "7-0", "type": "t", "subject": "s", "data": data}
    assert follow.line(event) == (
        'T 7-0 t s by an app: corrected state stopped -> failed, error {"detail": "no\\nway \\u001b[2J"}, '
        "name a\\x9b\\u2028b é, attempts 1 -> 2"
    )
