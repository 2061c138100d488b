"""Inside and outside are parted by the socket that a connection came in by, whatever a request says."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from service.sandbox import Sandbox
from tests.bed import places, processes
from tests.bed.web import CHECKOUT
from tests.house import House, wait_until
from tests.web.indoors import Indoors
from tests.web.test_auth import AN_ID

Address = tuple[str, int] | str  # or the path of a unix socket

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]
INTERNAL_URL = "https://ledger.internal:8443/below"


@dataclass(frozen=True)
class Reply:
    status: int
    head: str
    body: str


@dataclass(frozen=True)
class Parted:
    """A house with two listeners."""

    house: House
    inside: Address

    @property
    def outside(self) -> Address:
        return self.house.web.address

    @property
    def key(self) -> str:
        return f"Authorization: Bearer {self.house.key}"


@pytest.fixture(scope="module", params=["tcp", "unix"])
def parted(request: pytest.FixtureRequest, sqlite_template: Path) -> Iterator[Parted]:
    folder = Path(tempfile.mkdtemp(prefix="bed-inside-", dir="/tmp"))  # a short path, as its socket needs
    shutil.copy(sqlite_template, folder / "ledger.sqlite3")
    with Sandbox() as sandbox, places.some() as place:
        inside: Address = f"{folder}/inside" if request.param == "unix" else place.getsockname()
        bind = f"unix:{inside}" if isinstance(inside, str) else "{}:{}".format(*inside)
        url = f"sqlite:///{folder}/ledger.sqlite3"
        with House(url, sandbox, INTERNAL_BIND=bind, INTERNAL_URL=INTERNAL_URL) as house:
            yield Parted(house, inside)
    shutil.rmtree(folder)


def connect(address: Address) -> socket.socket:
    if isinstance(address, tuple):
        return socket.create_connection(address, timeout=10)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def send(address: Address, *lines: str, body: str = "") -> Reply:
    """A request of these lines, on a connection of its own."""
    with connect(address) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", body]).encode())
        received = b""
        while part := connection.recv(65536):
            received += part
    head, _, rest = received.decode().partition("\r\n\r\n")
    return Reply(int(head.split(" ", 2)[1]), head, rest)


def ask(address: Address, method: str, target: str, *headers: str, host: str = "x", body: str = "") -> Reply:
    length = [f"Content-Length: {len(body)}"]
    return send(address, f"{method} {target} HTTP/1.1", f"Host: {host}", *headers, *length, body=body)


def routes(indoors: Indoors) -> list[tuple[str, set[str]]]:
    """Path and methods of all that there is, of what comes later too."""
    rules = indoors.app.url_map.iter_rules()
    return [(re.sub(r"<uuid:\w+>|<\w+>", AN_ID, rule.rule), set(rule.methods or ())) for rule in rules]


def is_not_found(reply: Reply) -> bool:
    kind = "application/problem+json" in reply.head
    return reply.status == 404 and kind and (not reply.body or "problem:not-found" in reply.body)


sqlite_only = pytest.mark.parametrize("database_kind", ["sqlite"])


@sqlite_only
def test_outside_no_route_answers_but_health(parted: Parted, indoors: Indoors) -> None:
    found = routes(indoors)
    assert {"/v1/sessions", "/readyz", "/", "/docs", "/openapi.json"} <= {path for path, _ in found}
    for path, _ in found:
        for method in METHODS:
            reply = ask(parted.outside, method, path, parted.key)
            if path == "/healthz" and method in {"GET", "HEAD"}:
                assert reply.status == 200
            else:
                assert is_not_found(reply), (method, path, reply)


@sqlite_only
def test_outside_it_does_not_matter_which_host_a_request_names(parted: Parted, indoors: Indoors) -> None:
    inside = "localhost" if isinstance(parted.inside, str) else "{}:{}".format(*parted.inside)
    named = [inside, "127.0.0.1", "localhost", "ledger.internal:8443", ""]
    forwarded = [
        f"X-Forwarded-Host: {inside}",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Prefix: /callbacks/siprec",
        "X-Original-URL: /v1/sessions",
        "X-Rewrite-URL: /v1/sessions",
        f"Forwarded: for=127.0.0.1;host={inside};proto=https",
    ]
    for path, methods in routes(indoors):
        if path == "/healthz":
            continue
        for method in sorted(methods & {"GET", "POST", "DELETE", "PATCH"}):
            for host in named:
                assert is_not_found(ask(parted.outside, method, path, parted.key, host=host)), (path, host)
            for absolute in (f"http://{inside}{path}", f"https://ledger.internal:8443{path}"):
                assert is_not_found(ask(parted.outside, method, absolute, parted.key, host=inside)), absolute
            assert is_not_found(ask(parted.outside, method, path, parted.key, *forwarded)), path
            assert is_not_found(send(parted.outside, f"{method} {path} HTTP/1.0", parted.key)), path


TRICKS = [
    "//v1/sessions",
    "/./v1/sessions",
    "/callbacks/../v1/sessions",
    "/callbacks/siprec/../../v1/sessions",
    "/callbacks/siprec/%2e%2e/%2e%2e/v1/sessions",
    "/callbacks/siprec%2f..%2f..%2fv1%2fsessions",
    "/callbacks/../readyz",
    "/callbacks",
    "/callbacks/",
    "/callbacks/other",
    "/%761/sessions",
    "/v1%2fsessions",
    "/v1/sessions?/callbacks/siprec",
    "/v1/sessions;/callbacks/siprec",
    "/v1/sessions#/callbacks/siprec",
    "/v1/sessions%00/callbacks/siprec",
    "/v1/sessions/../../callbacks/siprec",
    "/healthz/",
    "/healthz/../v1/sessions",
    "/healthz%2f..%2fv1%2fsessions",
    "/healthz%00",
    "/HEALTHZ",
    "//healthz",
    "/READYZ",
    "/%72eadyz",
    "http:///v1/sessions",
    "x",
    "*",
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("target", TRICKS)
def test_outside_no_writing_of_a_path_leads_inside(parted: Parted, method: str, target: str) -> None:
    reply = ask(parted.outside, method, target, parted.key, body="{}" if method == "POST" else "")
    assert reply.status in {400, 404}, reply
    assert "sessions" not in reply.body.replace("siprec-ledger", "")


def test_outside_a_later_request_of_a_connection_leads_inside_no_more_than_the_first(parted: Parted) -> None:
    lines = ["GET /healthz HTTP/1.1", "Host: x", "", "GET /readyz HTTP/1.1", "Host: x"]
    reply = send(parted.outside, *lines)
    assert reply.status == 200
    assert "HTTP/1.1 404 " in reply.body
    assert '"ready"' not in reply.body


def test_outside_a_body_that_is_too_large_is_told_no_more(parted: Parted) -> None:
    body = "x" * (64 * 1024 + 1)
    assert is_not_found(ask(parted.outside, "POST", "/v1/sessions", parted.key, body=body))


@sqlite_only
def test_inside_every_route_answers(parted: Parted, indoors: Indoors) -> None:
    for path, methods in routes(indoors):
        for method in sorted(methods - {"DELETE"}):
            reply = ask(parted.inside, method, path, parted.key)
            assert reply.status < 500
            assert not is_not_found(reply) or path == f"/docs/{AN_ID}" or method == "HEAD", (path, reply)
    for path in ("/", "/docs", "/docs/docs.css", "/openapi.json", "/healthz", "/readyz", "/v1/sessions"):
        assert ask(parted.inside, "GET", path, parted.key).status == 200


@pytest.mark.parametrize(
    "path", ["/callbacks/siprec", "/callbacks/siprec/", "/callbacks/siprec/x", "/callbacks/canary/x"]
)
@pytest.mark.parametrize("method", METHODS)
def test_inside_no_callbacks_are_taken(parted: Parted, path: str, method: str) -> None:
    assert is_not_found(ask(parted.inside, method, path))
    outside = ask(parted.outside, method, path)
    assert outside.status == (403 if method in {"GET", "POST"} and "x" not in path else outside.status)
    assert not is_not_found(outside)


def started(parted: Parted, call_sid: str) -> tuple[Reply, str]:
    """What a start was answered, and the path of its session."""
    body = f'{{"call_sid": "{call_sid}"}}'
    reply = ask(
        parted.inside, "POST", "/v1/sessions", parted.key, "Content-Type: application/json", body=body
    )
    assert reply.status == 201, reply
    found = re.search(r"(?mi)^location: (.*)\r$", reply.head)
    assert found
    return reply, found[1]


def test_what_apps_start_inside_telnyx_tells_of_outside(parted: Parted) -> None:
    _, location = started(parted, "v3:both-sides")
    path = location.removeprefix(INTERNAL_URL)
    wait_until(lambda: '"state":"started"' in ask(parted.inside, "GET", path, parted.key).body)


def test_links_lead_to_the_inside(parted: Parted) -> None:
    reply, location = started(parted, "v3:linked")
    session_id = re.findall(r'"id":"([^"]+)"', reply.body)[0]
    assert location == f"{INTERNAL_URL}/v1/sessions/{session_id}"
    document = ask(parted.inside, "GET", "/openapi.json").body
    assert f'"servers":[{{"url":"{INTERNAL_URL}"}}]' in document.replace(": ", ":").replace("\n", "")
    assert parted.house.web.url not in document


def test_events_keep_their_source_whatever_the_address_of_the_inside(parted: Parted) -> None:
    """With their ids it is their name for ever, of which an inside that comes later must change nothing."""
    started(parted, "v3:followed")
    feed = ask(parted.inside, "GET", "/v1/events?after=start", parted.key).body
    assert f'"source":"{parted.house.web.url}/v1/events"' in feed


def test_the_log_says_who_asked_as_far_as_that_is_known(parted: Parted) -> None:
    ask(
        parted.inside,
        "GET",
        "/v1/sessions",
        parted.key,
        "X-Request-Id: from-inside",
        "X-Forwarded-For: 192.0.2.1",
    )
    wait_until(lambda: "id=from-inside" in parted.house.web.log)
    (line,) = [line for line in parted.house.web.log.splitlines() if "id=from-inside" in line]
    assert f' {"-" if isinstance(parted.inside, str) else "127.0.0.1"} "GET /v1/sessions" 200 ' in line
    assert 'key="key ' in line


# As the socket of a unix listener comes and goes


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="bed-inside-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def is_served(address: Address) -> bool:
    try:
        return ask(address, "GET", "/readyz").status == 200
    except OSError:
        return False


@sqlite_only
def test_the_socket_is_for_its_user_and_group_and_goes_with_the_service(
    database_url: str, sandbox: Sandbox, folder: Path
) -> None:
    path = folder / "inside"
    with House(database_url, sandbox, INTERNAL_BIND=f"unix:{path}") as house:
        assert stat.S_IMODE(path.stat().st_mode) == 0o770
        assert is_served(str(path))
        assert '"servers":[{"url":"/"}]' in ask(str(path), "GET", "/openapi.json").body.replace(" ", "")
        body, kind = '{"call_sid": "v3:call-1"}', "Content-Type: application/json"
        key = f"Authorization: Bearer {house.key}"
        reply = ask(str(path), "POST", "/v1/sessions", key, kind, body=body)
        assert "\r\nlocation: /v1/sessions/" in reply.head
        house.web.stop()
        assert not path.exists()


@sqlite_only
def test_a_socket_that_a_killed_service_left_is_replaced(
    database_url: str, sandbox: Sandbox, folder: Path
) -> None:
    path = folder / "inside"
    with House(database_url, sandbox, INTERNAL_BIND=f"unix:{path}") as house:
        house.web.kill_master()
        assert path.is_socket()
        assert not is_served(str(path))
        house.web.start()
        assert is_served(str(path))


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_reload_keeps_both_listeners_with_several_workers(
    database_url: str, sandbox: Sandbox, folder: Path
) -> None:
    path = folder / "inside"
    with House(database_url, sandbox, 2, INTERNAL_BIND=f"unix:{path}") as house:
        socket_of, before = path.stat().st_ino, set(house.web.worker_pids())
        os.kill(house.web.master_pid, signal.SIGHUP)
        wait_until(lambda: len(after := set(house.web.worker_pids())) == 2 and not after & before)
        assert path.stat().st_ino == socket_of
        for _ in range(20):  # whichever worker takes it
            assert is_served(str(path))
            assert is_not_found(ask(house.web.address, "GET", "/readyz"))
            assert ask(house.web.address, "GET", "/healthz").status == 200
        house.web.kill_worker()
        wait_until(lambda: len(set(house.web.worker_pids()) - before) == 2)
        assert is_served(str(path))


def refusal(house: House, *arguments: str, **settings: str) -> str:
    """What gunicorn says when it does not start."""
    command = [sys.executable, "-m", "gunicorn", "-c", "python:service.gunicorn_conf", *arguments]
    env = processes.environment({**house.web.env, "PORT": "0", "HOST": "127.0.0.1", **settings})
    done = subprocess.run(
        [*command, "service.app:web()"], cwd=CHECKOUT, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_a_command_line_that_leaves_the_inside_out_does_not_start(parted: Parted, folder: Path) -> None:
    said = refusal(parted.house, "--bind", "127.0.0.1:0", INTERNAL_BIND=f"unix:{folder}/inside")
    assert f"nothing listens at INTERNAL_BIND, unix:{folder}/inside; " in said
    assert "Traceback" not in said


@pytest.mark.parametrize("arguments", [{"INTERNAL_BIND": "nohost:8001"}, {"INTERNAL_BIND": "127.0.0.1:0"}])
def test_a_place_that_is_none_is_told_at_the_start(parted: Parted, arguments: dict[str, Any]) -> None:
    said = refusal(parted.house, **arguments)
    assert "\nINTERNAL_BIND: must " in said
    assert "Traceback" not in said


def test_without_an_inside_one_listener_serves_all(served: House) -> None:
    for path in ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/v1/sessions"):
        assert served.get(path).status_code == 200
    assert requests.post(f"{served.web.url}/callbacks/siprec", timeout=10).status_code == 403
