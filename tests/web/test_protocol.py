"""HTTP as it comes over a socket: by old clients, by hurried ones, and by those that break it."""

from __future__ import annotations

import re
import shutil
import socket
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from service.sandbox import EVENTS, Behaviour, Sandbox
from tests.house import House, wait_until

KIB = 1024
STATUS = re.compile(rb"HTTP/1\.1 (\d+) [^\r]*\r\n")
NUMBER = count()


class Line:
    """One connection, and a session whose callbacks go over it."""

    def __init__(self, house: House) -> None:
        self.house = house
        call_sid = f"v3:protocol-{next(NUMBER)}"
        started = house.start(call_sid).json()
        self.session_id, self.sid = started["id"], started["siprec_sid"]
        self.path = urlsplit(house.callback_url(call_sid)).path
        self.connection = socket.create_connection(house.web.address, timeout=10)
        self._came = b""

    def callback(self, *headers: str, version: str = "1.1", target: str = "", more: str = "") -> bytes:
        """A genuine one, as bytes. `headers` come before ours; with a Transfer-Encoding it is chunked."""
        body = self.house.sandbox.compose(self.sid, "siprec-started", More=more)
        signed = [f"{name}: {value}" for name, value in self.house.sandbox.sign(body).items()]
        lines = [f"POST {target or self.path} HTTP/{version}", "Host: x", *headers, *signed]
        if any("chunked" in header for header in headers):
            half = len(body) // 2
            body = b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]))
            body += b"0\r\nTrailer: x\r\n\r\n"
        else:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def status(self) -> int:
        """Of the next answer, which has no body."""
        while b"\r\n\r\n" not in self._came:
            part = self.connection.recv(65536)
            assert part, f"closed after {self._came!r}"
            self._came += part
        head, _, self._came = self._came.partition(b"\r\n\r\n")
        found = STATUS.match(head + b"\r\n")
        assert found, head
        return int(found[1])

    def rest(self) -> bytes:
        """All that comes until it is closed."""
        came, self._came = self._came, b""
        while part := self.connection.recv(65536):
            came += part
        return came

    def stored(self) -> int:
        return sum(one["deliveries"] for one in self.house.callbacks(self.session_id))


@pytest.fixture(scope="module")
def house(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    path = tmp_path_factory.mktemp("protocol") / "ledger.sqlite3"
    shutil.copy(sqlite_template, path)
    with Sandbox() as sandbox, House(f"sqlite:///{path}", sandbox, THREADS="4") as built:
        sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
        yield built


@pytest.fixture
def line(house: House) -> Iterator[Line]:
    opened = Line(house)
    yield opened
    opened.connection.close()


def test_what_comes_at_once_is_answered_in_its_order(line: Line) -> None:
    line.send(line.callback(more="1") + b"GET /v1/sessions HTTP/1.1\r\nHost: x\r\n\r\n")
    assert line.status() == 200
    assert line.status() == 401
    line.connection.close()
    again = Line(line.house)
    again.send(b"".join(again.callback(more=str(n)) for n in range(200)))
    assert [again.status() for _ in range(200)] == [200] * 200
    assert again.stored() == 200
    again.connection.close()


def test_what_comes_byte_by_byte_is_one_request(line: Line) -> None:
    line.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in line.callback() + line.callback(more="2"):
        line.send(bytes([byte]))
    assert [line.status(), line.status()] == [200, 200]
    assert line.stored() == 2


def test_old_http_is_answered_and_closed(line: Line) -> None:
    line.send(line.callback(version="1.0"))
    assert line.rest().startswith(b"HTTP/1.1 200 OK\r\n")
    assert line.stored() == 1


def test_who_asks_for_it_is_closed(line: Line) -> None:
    line.send(line.callback("Connection: close"))
    assert re.search(rb"(?i)\r\nconnection: close\r\n", line.rest())


def test_an_absolute_target_means_its_path(line: Line) -> None:
    line.send(line.callback(target=f"http://elsewhere.example{line.path}"))
    assert line.status() == 200
    assert line.stored() == 1


def test_chunks_extensions_and_trailers_are_taken(line: Line) -> None:
    line.send(line.callback("Transfer-Encoding: chunked") * 2)
    assert [line.status(), line.status()] == [200, 200]
    assert line.stored() == 2


def test_an_offer_of_another_protocol_is_passed_over_and_the_body_read(line: Line) -> None:
    """As Java's HTTP client makes it with every request that is not encrypted."""
    offer = [
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk",
    ]
    line.send(line.callback(*offer, more="1") + line.callback(*offer, "Transfer-Encoding: chunked", more="2"))
    line.send(line.callback(more="3"))
    assert [line.status(), line.status(), line.status()] == [200, 200, 200]
    assert line.stored() == 3


def test_who_waits_to_be_told_is_told_to_go_on(line: Line) -> None:
    head, _, body = line.callback("Expect: 100-continue").partition(b"\r\n\r\n")
    line.send(head + b"\r\n\r\n")
    assert line.status() == 100
    line.send(body)
    assert line.status() == 200
    assert line.stored() == 1


@pytest.mark.parametrize(
    ("target", "length"),
    [
        ("/callbacks/siprec", 1024 * KIB + 1),
        ("/callbacks/siprec/x", 1024 * KIB + 1),
        ("/callbacks/siprecX", 64 * KIB + 1),
        ("/v1/sessions", 64 * KIB + 1),
    ],
)
def test_who_waits_with_too_much_is_told_at_once(line: Line, target: str, length: int) -> None:
    line.send(f"POST {target} HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n".encode())
    assert line.rest().startswith(b"HTTP/1.1 413 ")


def test_a_refused_body_is_read_to_its_end_and_the_connection_goes_on(line: Line) -> None:
    for extra in ([], ["Transfer-Encoding: chunked"]):
        body = b"x" * (1024 * KIB + 1)
        lines = ["POST /callbacks/siprec/x HTTP/1.1", *(extra or [f"Content-Length: {len(body)}"]), "", ""]
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        line.send("\r\n".join(lines).encode() + (chunked if extra else body))
        assert line.status() == 413
    line.send(line.callback())
    assert line.status() == 200


def test_a_refused_body_is_not_read_for_ever(line: Line) -> None:
    line.send(b"POST /callbacks/siprec/x HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n")
    with pytest.raises(ConnectionError):  # noqa: PT012 (whichever of the two finds it closed)
        for _ in range(1000):
            line.send(b"x" * 64 * KIB)
        line.rest()


BROKEN = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01",
    "a header without a name": b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    "a NUL": b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
    "a bare line feed": b"POST / HTTP/1.1\r\nContent-Length: 1\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "a length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a length that is none": b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "a chunk that is none": b"POST /callbacks/siprec HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a blank in a target": b"GET /a b HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_read_is_400_and_closed(line: Line, kind: str) -> None:
    line.send(BROKEN[kind])
    assert line.rest() == b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def test_what_cannot_be_read_does_not_get_in_front_of_an_answer(line: Line) -> None:
    line.send(line.callback() + BROKEN["two lengths"])
    assert line.status() == 200
    assert line.rest() == b""
    assert line.stored() == 1


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 17 * KIB + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 17 * KIB + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: yyyyyyyyyyyyyyyyyyyy\r\n" * 900 + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 40 * KIB,
    ],
    ids=["target", "header", "headers", "endless"],
)
def test_more_than_16_kib_of_headers_are_431(line: Line, head: bytes) -> None:
    line.send(head)
    assert line.rest().startswith(b"HTTP/1.1 431 ")


def test_who_still_sends_when_it_is_hung_up_on_reads_why(line: Line) -> None:
    line.send(b"GET / HTTP/1.1\r\nX: ")
    for _ in range(8):  # the answer goes out after the first
        line.send(b"x" * 64 * KIB)
        time.sleep(0.005)
    assert line.rest().startswith(b"HTTP/1.1 431 ")


def test_who_sends_for_ever_is_closed(line: Line) -> None:
    def sends() -> bool:
        try:
            line.send(b"x: y\r\n" * KIB)
        except OSError:  # a broken pipe, or a reset
            return False
        return True

    wait_until(lambda: not sends())


def test_15_kib_of_headers_are_taken(line: Line) -> None:
    line.send(line.callback("X: " + "x" * 15 * KIB))
    assert line.status() == 200


def test_a_client_that_has_said_all_may_still_read(line: Line) -> None:
    line.send(line.callback(more="1") + line.callback(more="2"))
    line.connection.shutdown(socket.SHUT_WR)
    assert line.rest().count(b"HTTP/1.1 200 OK\r\n") == 2
    assert line.stored() == 2


def test_a_client_that_leaves_does_not_take_its_callback_along(line: Line) -> None:
    line.send(line.callback())
    line.connection.close()
    wait_until(lambda: line.stored() == 1)


def test_no_header_says_where_we_are_mounted(line: Line) -> None:
    line.send(b"GET /healthz HTTP/1.1\r\nSCRIPT_NAME: /x\r\nScript-Name: /x\r\n\r\n")
    assert line.status() == 200
    line.house.http.headers["SCRIPT_NAME"] = "/callbacks"
    try:
        answer = line.house.get("/v1/sessions")
        started = line.house.start("v3:mounted")
    finally:
        del line.house.http.headers["SCRIPT_NAME"]
    assert answer.status_code == 200
    assert started.headers["Location"] == f"/v1/sessions/{started.json()['id']}"
