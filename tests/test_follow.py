"""`siprec-ledger follow` prints each event once, whatever happens between it and the service."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from service.commands import follow
from service.domain.access import Access, Scope
from service.sandbox import EVENTS, Behaviour, Sandbox
from service.store import keys
from tests.bed import processes
from tests.bed.address import Address
from tests.bed.follower import Follower
from tests.house import House, wait_until
from tests.ledger.lines import number_all

QUIET = Behaviour(drop=frozenset(EVENTS))


@pytest.fixture(autouse=True)
def _silent(sandbox: Sandbox) -> None:
    sandbox.behave(QUIET)


def fed(house: House) -> list[dict[str, Any]]:
    """The whole feed, once all of it is numbered."""
    number_all(house.database)
    events: list[dict[str, Any]] = []
    page: dict[str, Any] = {"events": [], "next": "start"}
    after = ""
    while page["next"] != after:
        after = page["next"]
        page = house.get("/v1/events", after=after, limit=1000).json()
        events += page["events"]
    return events


def new_key(house: House, *scopes: Scope) -> str:
    with house.database.begin() as db:
        return keys.create(db, f"reader {scopes}", datetime.now(UTC), Access(frozenset(scopes)))


def until_printed(follower: Follower, count: int) -> None:
    wait_until(lambda: len(follower.output.splitlines()) >= count, why=lambda: follower.errors)


@contextmanager
def starting(house: House) -> Iterator[None]:
    """Meanwhile one session after another; where the service is gone, the next is tried."""
    ended, number = threading.Event(), 0

    def run() -> None:
        nonlocal number
        while not ended.wait(0.01):
            number += 1
            try:
                house.start(f"v3:storm-{number}")
            except OSError:  # requests' are
                continue

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_each_event_is_printed_once_though_the_service_and_the_connection_break(house: House) -> None:
    for number in range(3):
        house.start(f"v3:call-{number}")
    host, port = house.web.address
    with (
        Address(f"{host}:{port}") as address,
        Follower(
            f"http://127.0.0.1:{address.port}", house.key, "--json", "--after", "start", LC_ALL="C"
        ) as follower,
    ):
        until_printed(follower, 6)
        with starting(house):
            until_printed(follower, 20)
            address.cut()
            house.web.stop()
            house.web.start()
            until_printed(follower, len(follower.events) + 20)
            house.web.kill_master()
            house.web.start()
            until_printed(follower, len(follower.events) + 20)
            with address.refusing():
                until = len(fed(house))
            until_printed(follower, until)
        house.start("v3:the-last")
        expected = fed(house)
        until_printed(follower, len(expected))
        assert follower.events == expected
        assert [one["data"]["position"] for one in expected] == [*range(1, len(expected) + 1)]
        assert "Traceback" not in follower.errors
        assert follower.errors.count("interrupted: ") == follower.errors.count("going on\n") >= 1


def test_it_begins_with_what_happens_from_now_on(house: House) -> None:
    house.start("v3:before")
    fed(house)
    with Follower(house.web.url, house.key) as follower:
        asked = '"GET /v1/events" 200'
        wait_until(lambda: house.web.log.count(asked) >= 3)  # fed's two, and where now is
        house.start("v3:after")
        until_printed(follower, 2)
        last = fed(house)[-2:]
        assert [line.split(" ")[1] for line in follower.output.splitlines()] == [one["id"] for one in last]
        assert follower.errors == ""


def test_it_is_narrowed(house: House) -> None:
    wanted = house.start("v3:1", account_sid="account-2", connector_name="the recorder").json()["id"]
    house.start("v3:2", account_sid="account-2", connector_name="another")
    house.start("v3:3", account_sid="account-1", connector_name="the recorder")
    events = [one for one in fed(house) if one["subject"] == wanted]
    assert len(events) == 2
    by_type = ["--type", events[1]["type"], "--type", "siprec.session.merged"]
    for narrowed, count in {
        ("--account", "account-2", "--connector", "the recorder"): 2,
        ("--session", wanted): 2,
        ("--session", wanted, *by_type): 1,
    }.items():
        with Follower(house.web.url, house.key, "--json", "--after", "start", *narrowed) as follower:
            until_printed(follower, count)
            assert follower.events == events[-count:]


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_it_ends_where_it_is_refused(house: House) -> None:
    house.start()
    web, no_reader = house.web.url, new_key(house, Scope.START)
    for url, key, arguments, code, words in (
        (web, "slk_nobodys", [], 1, "401 API key unknown or revoked"),
        (web, no_reader, [], 1, "403 API key lacks the scope"),
        (f"{web}/elsewhere", house.key, [], 1, "404 Not found"),
        (web, house.key, ["--after", "99-0badc0de"], 3, "409 Ledger was put back to an earlier state"),
        (web, house.key, ["--after", "yesterday"], 1, "422 Invalid request: after: "),
        (web, house.key, ["--type", "no\x1b[1msuch"], 1, "422 Invalid request: type/0: "),
        ("ftp://ledger", house.key, [], 2, "it has to be like https://ledger.example.com"),
        ("http://me:hush@ledger", house.key, [], 2, "credentials"),
        (web, "", [], 2, "LEDGER_KEY is not set"),
        (web, "two\nlines", [], 2, "LEDGER_KEY is no API key"),
    ):
        with Follower(url, key, *arguments) as follower:
            assert (follower.end(), words in follower.errors) == (code, True), follower.errors
            assert follower.output == ""
            assert "Traceback" not in follower.errors
            assert "\x1b" not in follower.errors
            assert "hush" not in follower.errors


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_it_ends_quietly_when_it_is_told_to(house: House) -> None:
    house.start()
    fed(house)
    with Follower(house.web.url, house.key, "--after", "start") as follower:
        until_printed(follower, 2)
        follower.process.send_signal(signal.SIGINT)
        assert follower.end() == 130
        assert follower.errors == ""


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_it_ends_quietly_when_nobody_reads_on(house: House) -> None:
    house.start()
    fed(house)
    settings = {"LEDGER_URL": house.web.url, "LEDGER_KEY": house.key}
    with subprocess.Popen(
        processes.ledger_command("follow", "--after", "start"),
        env=processes.environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert " session.created " in process.stdout.readline()
        process.stdout.close()
        house.start("v3:call-2")
        assert process.wait(30) == 1
        assert process.stderr.read() == ""


class Answers(ThreadingHTTPServer):
    """Gives these answers one after the other, as (status, headers, body), then the last for ever."""

    def __init__(self, answers: Sequence[tuple[int, dict[str, str], bytes]]) -> None:
        self.left = [*answers]
        self.paths: list[str] = []
        super().__init__(("127.0.0.1", 0), Answering)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    server: Answers

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        left = self.server.left
        status, headers, body = left.pop(0) if len(left) > 1 else left[0]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def answering(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[Answers]:
    with Answers(answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_it_goes_on_after_whatever_may_pass() -> None:
    event = {"id": "1-00000001"}
    page = json.dumps({"events": [event], "next": "1-00000001"}).encode()
    with (
        answering(
            (503, {"Retry-After": "1"}, b'{"title": "Service busy"}'),
            (500, {}, b"no JSON"),
            (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b""),
            (200, {"Content-Length": "1000"}, page),  # cut off
            (200, {}, page),
            (502, {}, b""),
            (200, {}, json.dumps({"events": [], "next": "2-00000002"}).encode()),
            (302, {"Location": "http://127.0.0.1:9/v1/events"}, b""),
        ) as server,
        Follower(server.url, "key", "--json") as follower,
    ):
        assert follower.end() == 1
        assert follower.events == [event]
        assert follower.errors.splitlines() == [
            "interrupted: Service busy; trying again",
            "going on",
            "interrupted: Bad Gateway; trying again",
            "going on",
            "Error: 302 Found",
        ]
        afters = [path.partition("after=")[2].partition("&")[0] for path in server.paths]
        assert afters == ["now"] * 5 + ["1-00000001"] * 2 + ["2-00000002"]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"events": []}'])
def test_what_is_no_ledger_is_not_followed(body: bytes) -> None:
    with answering((200, {}, body)) as server, Follower(server.url, "key") as follower:
        assert follower.end() == 1
        assert "no ledger" in follower.errors


def _event(**data: Any) -> dict[str, Any]:
    return {
        "id": "7-0badc0de",
        "type": "siprec.session.changed",
        "subject": "01a202e4",
        "time": "2026-11-22T10:54:05.684435Z",
        "data": {"actor": "telnyx", "correction": False, "changes": {}, **data},
    }


@pytest.mark.parametrize(
    ("data", "rest"),
    [
        ({}, "by telnyx"),
        ({"changes": {"state": ["accepted", "started"]}}, "state=accepted->started by telnyx"),
        ({"changes": {"attempts": [None, 1]}, "actor": "claims app"}, "attempts=1 by claims app"),
        ({"changes": {"stop": [None, "two words"]}}, 'stop="two words" by telnyx'),
        ({"changes": {"error": [{"kind": "rejected"}, None]}}, 'error={"kind": "rejected"}->null by telnyx'),
        ({"changes": {"sid": [None, "\x1b[2J\x9b\n"]}}, r'sid="\u001b[2J\u009b\n" by telnyx'),
        ({"actor": "\x1b[2J", "correction": True}, "by ?[2J (correction)"),
    ],
)
def test_a_line_is_one_line(data: dict[str, Any], rest: str) -> None:
    told = "2026-11-22T10:54:05.684435Z 7-0badc0de session.changed 01a202e4"
    assert follow.line(_event(**data)) == f"{told} {rest}"
