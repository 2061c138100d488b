"""What only the real server shows: how bodies arrive, and what stands in its log."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from service.sandbox import EVENTS, Behaviour
from tests.house import House, wait_until

KIB = 1024
MIB = 1024 * KIB
CHUNK = 10_000


@pytest.fixture(autouse=True)
def _quiet(served: House) -> None:
    served.sandbox.behave(Behaviour(drop=frozenset(EVENTS)))


def chunks(body: bytes) -> Iterator[bytes]:
    """Sent without a Content-Length."""
    for start in range(0, len(body), CHUNK):
        yield body[start : start + CHUNK]


def padded(size: int) -> bytes:
    told = json.dumps({"call_sid": "v3:padded"}).encode()
    return told + b" " * (size - len(told))


# Not much more than the limit: who still sends when the server hangs up may lose the answer with the line.
@pytest.mark.parametrize("is_chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize(("size", "status"), [(64 * KIB, 201), (64 * KIB + 1, 413), (80 * KIB, 413)])
def test_v1_takes_64_kib(served: House, size: int, status: int, is_chunked: bool) -> None:
    body = padded(size)
    answer = requests.post(  # on a line of its own: after a 413 the server may hang up
        f"{served.web.url}/v1/sessions",
        data=chunks(body) if is_chunked else body,
        headers={**served.http.headers, "Content-Type": "application/json"},
        timeout=20,
    )
    assert answer.status_code == status
    if status == 413:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["X-Request-Id"]


def form_of(served: House, size: int) -> bytes:
    sid = served.start("v3:big").json()["siprec_sid"]
    told = served.sandbox.compose(sid, "siprec-started", More="")
    return told + b"x" * (size - len(told))


@pytest.mark.parametrize("is_chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize(("size", "status"), [(500, 200), (MIB, 200), (MIB + 1, 413), (MIB + 10 * KIB, 413)])
def test_the_callback_door_takes_a_mebibyte(served: House, size: int, status: int, is_chunked: bool) -> None:
    body = form_of(served, size)
    answer = requests.post(
        served.callback_url("v3:big"),
        data=chunks(body) if is_chunked else body,
        headers=served.sandbox.sign(body),
        timeout=20,
    )
    assert (answer.status_code, answer.content) == (status, b"")
    session_id = served.get("/v1/sessions", call_sid="v3:big", limit=1).json()["sessions"][0]["id"]
    kept = served.callbacks(session_id)
    assert [one["event"] for one in kept] == (["siprec-started"] if status == 200 else [])


def test_a_body_that_breaks_off_is_not_kept(served: House) -> None:
    body = form_of(served, 500)
    path = urlsplit(served.callback_url("v3:big")).path
    signed = "".join(f"{name}: {value}\r\n" for name, value in served.sandbox.sign(body).items())
    with socket.create_connection(served.web.address, timeout=10) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{signed}Content-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[:-1])
    session_id = served.get("/v1/sessions", call_sid="v3:big", limit=1).json()["sessions"][0]["id"]
    assert served.callbacks(session_id) == []
    assert served.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/v1/sessions", "/callbacks/siprec/x"])
def test_a_connection_survives_a_refusal(served: House, path: str) -> None:
    connection = http.client.HTTPConnection(*served.web.address, timeout=10)
    for _ in range(3):
        connection.request("DELETE", path, body=b"x" * 100)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 405
    connection.close()


def test_no_token_and_no_query_stand_in_the_log_but_the_request_id_does(served: House) -> None:
    session_id = served.start("v3:logged").json()["id"]
    url = served.callback_url("v3:logged")
    token = url.rpartition("/")[2]
    secret = token.partition(".")[2]
    assert len(secret) > 20
    form = served.sandbox.compose(served.session(session_id)["siprec_sid"], "siprec-started", More="in-query")
    base = served.web.url
    for number, target in enumerate(
        [
            url,
            f"{url}/",
            f"{base}//callbacks/siprec/{token}",
            f"{base}/callbacks//siprec/{token}",
            f"{base}/callbacks/siprec//{token}",
            f"{base}/callbacks/siprec/x/{token}",
            f"{base}/callbacks%2Fsiprec%2F{token}",
            f"{base}/callbacks/siprec?{token}",
        ]
    ):
        for method in ("GET", "POST", "PUT"):
            requests.request(
                method,
                f"{target}?{form.decode()}" if "?" not in target else target,
                headers={"X-Request-Id": f"logged-{number}-{method}"},
                timeout=10,
            )
    served.get("/v1/sessions", reference="in-query")
    wait_until(lambda: "logged-7-PUT" in served.web.log)
    log = served.web.log
    assert secret not in log
    assert "in-query" not in log
    for number in range(8):
        assert f"id=logged-{number}-GET" in log
    assert served.key not in log
    assert f"/v1/sessions/{session_id}" in log


def test_a_path_forges_no_line_of_the_log(served: House) -> None:
    forged = "2026-11-22 10:00:00 INFO forged"
    for target in (
        f"/v1/sessions/%0a{forged}%1b[2J%22%20200".replace(" ", "%20"),
        "/callbacks/siprec/a%20b%0asecret-one%1b",
        "/callbacks%20secret-two",
        "/callbacks/siprec?secret-three",
        "/v1/secret%ff",
    ):
        request = f"GET {target} HTTP/1.1\r\nHost: x\r\nX-Request-Id: forger\r\nConnection: close\r\n\r\n"
        with socket.create_connection(served.web.address, timeout=10) as connection:
            connection.sendall(request.encode())
            while connection.recv(4096):
                pass
    wait_until(lambda: served.web.log.count("id=forger") == 5)
    log = served.web.log
    assert not any(line.startswith(forged) for line in log.splitlines())
    assert "\x1b" not in log
    assert rf'"GET /v1/sessions/\x0a{forged}\x1b[2J\" 200" 404 ' in log
    assert "secret-" not in log


def test_the_log_says_who_asked_with_which_key_and_how_long_it_took(served: House) -> None:
    served.http.get(f"{served.web.url}/v1/sessions", headers={"X-Request-Id": "seen"}, timeout=10)
    wait_until(lambda: "id=seen" in served.web.log)
    (line,) = (line for line in served.web.log.splitlines() if "id=seen" in line)
    assert re.fullmatch(
        r'[0-9-]{10} [0-9:]{8}\+0000 127\.0\.0\.1 "GET /v1/sessions" 200 0\.\d{3}s id=seen key="key \d+"',
        line,
    ), line
