"""What is asked of Telnyx, and what each way of not answering means: started, not started, or unknown."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import socket
import ssl
import subprocess
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.domain.notice import Error, ErrorKind, Notice, NoticeKind
from service.domain.overdue import Call
from service.domain.start import CallbackMethod, Order, SipTransport, Track
from service.sandbox import Answer, Behaviour, Sandbox
from service.telnyx.answer import LONGEST_DETAIL
from service.telnyx.client import LARGEST_ANSWER, RETRY_SECONDS, Client, longest_seconds
from tests.telnyx.conftest import Wire, hang, reset, say

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDER = Order("account-1", "v3:call-1")
CALLBACK = "http://127.0.0.1:9/callbacks/siprec/token"  # where nobody listens
ACCEPTED = b'{"sid": "sid-1"}'

MakeWire = Callable[..., Wire]


def client(url: str, timeout_seconds: float = 5, api_key: str = "KEY") -> Client:
    return Client(url, api_key, timeout_seconds, lambda: NOW)


def start(url: str, order: Order = ORDER, timeout_seconds: float = 5) -> Notice:
    return client(url, timeout_seconds).start(order, CALLBACK)


def outcome(notice: Notice) -> tuple[str, str | None]:
    return notice.kind.label, notice.error.kind if notice.error else None


def http(status: int, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """An answer as it goes over the wire."""
    head = [
        f"HTTP/1.1 {status} Whatever",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


# What is asked


def test_a_start_says_what_was_ordered_and_nothing_else(sandbox: Sandbox) -> None:
    order = Order(
        "account-1",
        "v3:call-1",
        connector_name="recörder & co",
        name="my name",
        track=Track.INBOUND,
        include_metadata_custom_headers=True,
        secure=False,
        session_timeout_secs=0,
        sip_transport=SipTransport.TLS,
        status_callback_method=CallbackMethod.GET,
        reference="ours",
        labels={"team": "ours"},
    )
    notice = client(sandbox.url, api_key=sandbox.api_key).start(order, CALLBACK)
    assert (notice.kind, notice.received_at, notice.error) == (NoticeKind.ACCEPTED, NOW, None)
    assert notice.siprec_sid == sandbox.sessions[0].sid
    (request,) = sandbox.requests
    assert request.fields == {
        "ConnectorName": "recörder & co",
        "Name": "my name",
        "Track": "inbound_track",
        "IncludeMetadataCustomHeaders": "true",
        "Secure": "false",
        "SessionTimeoutSecs": "0",
        "SipTransport": "tls",
        "StatusCallback": CALLBACK,
        "StatusCallbackMethod": "GET",
    }
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["authorization"] == f"Bearer {sandbox.api_key}"


def test_what_was_not_ordered_is_left_to_telnyx(sandbox: Sandbox) -> None:
    client(sandbox.url, api_key=sandbox.api_key).start(ORDER, CALLBACK)
    assert sandbox.requests[0].fields == {"StatusCallback": CALLBACK, "StatusCallbackMethod": "POST"}


def test_a_stop_names_the_session(sandbox: Sandbox) -> None:
    asking = client(sandbox.url, api_key=sandbox.api_key)
    sid = asking.start(ORDER, CALLBACK).siprec_sid
    assert sid
    assert asking.stop("account-1", "v3:call-1", sid) is None
    request = sandbox.requests[-1]
    assert request.path == f"/v2/texml/Accounts/account-1/Calls/v3:call-1/Siprec/{sid}.json"
    assert request.fields == {"Status": "stopped"}


@pytest.mark.parametrize(
    ("sid", "written"),
    [
        ("v3:9X2vqj", "v3:9X2vqj"),
        ("a/b", "a%2Fb"),
        ("a b", "a%20b"),
        ("../../x", "..%2F..%2Fx"),
        ("...", "..."),
        ("%2e%2e", "%252e%252e"),
        ("a?b#c&d=e", "a%3Fb%23c%26d%3De"),
        ("ünï", "%C3%BCn%C3%AF"),
        ("a\\b;c@d", "a%5Cb%3Bc%40d"),
    ],
)
def test_any_sid_is_one_part_of_the_path(sandbox: Sandbox, sid: str, written: str) -> None:
    asking = client(sandbox.url, api_key=sandbox.api_key)
    assert asking.start(Order(sid, sid), CALLBACK).kind is NoticeKind.ACCEPTED
    assert sandbox.requests[0].path == f"/v2/texml/Accounts/{written}/Calls/{written}/Siprec.json"
    asking.stop("account-1", "call-1", sid)
    assert sandbox.requests[1].path.endswith(f"/Calls/call-1/Siprec/{written}.json")


@pytest.mark.parametrize("dots", [".", ".."])
def test_a_sid_that_would_walk_up_the_path_is_refused_without_a_request(sandbox: Sandbox, dots: str) -> None:
    for order in (Order(dots, "call-1"), Order("account-1", dots)):
        assert outcome(start(sandbox.url, order)) == ("refused", "rejected")
    error = client(sandbox.url).stop("account-1", dots, "sid-1")
    assert error
    assert error.kind is ErrorKind.REJECTED
    assert sandbox.requests == []


def test_a_netrc_file_does_not_overrule_the_key(
    wire: MakeWire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    heard = wire(say(http(200, ACCEPTED)))
    start(heard.url)
    assert b"\r\nAuthorization: Bearer KEY\r\n" in heard.requests[0]


def test_every_request_has_a_connection_of_its_own_even_if_telnyx_would_keep_it(wire: MakeWire) -> None:
    def answer_and_stay(connection: socket.socket) -> None:
        say(http(200, ACCEPTED, "Connection: keep-alive"))(connection)
        hang(connection)

    heard = wire(answer_and_stay)
    asking = client(heard.url, timeout_seconds=1)
    for _ in range(3):
        assert asking.start(ORDER, CALLBACK).kind is NoticeKind.ACCEPTED
    assert heard.connections == 3
    assert all(b"\r\nConnection: close\r\n" in request for request in heard.requests)


def test_threads_share_a_client(sandbox: Sandbox) -> None:
    asking = client(sandbox.url, api_key=sandbox.api_key)
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: asking.start(Order("account-1", f"call-{n}"), CALLBACK), range(32))
        sids = {f"call-{n}": answer.siprec_sid for n, answer in enumerate(answers)}
    assert {session.call_sid: session.sid for session in sandbox.sessions} == sids


# Nobody there: the request never left


def test_a_closed_port_is_unreachable() -> None:
    with socket.socket() as place, within(3):
        place.bind(("127.0.0.1", 0))  # and never listens
        notice = start(f"http://127.0.0.1:{place.getsockname()[1]}/v2")
    assert outcome(notice) == ("refused", "unreachable")
    assert notice.error
    assert notice.error.is_repeatable
    assert notice.error.detail == "Telnyx could not be reached"


def test_a_port_that_opens_in_time_is_reached_after_all(sandbox: Sandbox) -> None:
    url = sandbox.url
    sandbox.stop()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client(url, api_key=sandbox.api_key).start, ORDER, CALLBACK)
        time.sleep(0.15)
        sandbox.start()
        assert asked.result().kind is NoticeKind.ACCEPTED
    assert len(sandbox.requests) == 1


def test_a_name_that_nobody_has_is_unreachable() -> None:
    assert outcome(start("http://no-such-host.invalid/v2")) == ("refused", "unreachable")


def test_a_connection_that_takes_too_long_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(3):  # nobody accepts them, so the next one has to wait
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        with within(5):
            notice = start(f"http://127.0.0.1:{full.getsockname()[1]}/v2", timeout_seconds=0.3)
    assert outcome(notice) == ("refused", "unreachable")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate in one file, signed by nobody but itself."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    key, signed = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", signed, "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_bytes(key.read_bytes() + signed.read_bytes())
    return both


def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_that_nobody_vouches_for_gets_no_request(wire: MakeWire, certificate: Path) -> None:
    heard = wire(say(http(200, ACCEPTED)), tls(certificate))
    assert outcome(start(heard.url)) == ("refused", "unreachable")
    assert heard.requests == []


def test_a_certificate_that_is_trusted_does(
    wire: MakeWire, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    heard = wire(say(http(200, ACCEPTED)), tls(certificate))
    assert outcome(start(heard.url)) == ("accepted", None)


def test_tls_with_a_port_that_speaks_none_is_unanswered(wire: MakeWire) -> None:
    """Nothing was asked; but the same error may come later, when something was."""
    plain = wire(say(http(400)), is_http=False)
    assert outcome(start(plain.url.replace("http", "https"))) == ("unanswered", "no_answer")
    assert plain.connections == 1  # and so it is not repeated


# No usable answer: it may have started, so it is not asked again

NO_ANSWERS: dict[str, Any] = {
    "reset": reset,
    "closed": lambda connection: None,
    "garbage": say(b"\xff\xfe garbage\r\n\r\n"),
    "another protocol": say(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "half a status line": say(b"HTTP/1.1 20"),
    "half a head": say(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "continue, then nothing": say(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "early hints": say(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", http(200, ACCEPTED)),
    "switching protocols": say(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    "no content": say(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "no body": say(http(200)),
    "HTML": say(http(200, b"<html>", "Content-Type: text/html")),
    "broken JSON": say(http(200, b'{"sid": "sid-1"')),
    "half a body": say(http(200, ACCEPTED, length=1000)),
    "half a chunk": say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + ACCEPTED),
    "no gzip": say(http(200, ACCEPTED, "Content-Encoding: gzip")),
    "an unknown charset": say(http(200, ACCEPTED, "Content-Type: application/json; charset=martian")),
    "endless nesting": say(http(200, b"[" * 100_000)),
    "an endless number": say(http(200, b'{"sid": ' + b"9" * 10_000 + b"}")),
    "a list": say(http(200, b'["sid"]')),
    "a string": say(http(200, b'"sid"')),
    "null": say(http(200, b"null")),
    "no sid": say(http(200, b'{"status": "in-progress"}')),
    "sid null": say(http(200, b'{"sid": null}')),
    "sid a number": say(http(200, b'{"sid": 17}')),
    "sid a list": say(http(200, b'{"sid": ["sid-1"]}')),
    "sid empty": say(http(200, b'{"sid": ""}')),
    "sid too long": say(http(200, json.dumps({"sid": "x" * 256}).encode())),
    "sid with NUL": say(http(200, b'{"sid": "a\\u0000b"}')),
    "sid a lone surrogate": say(http(200, b'{"sid": "\\ud800"}')),
    "moved": say(http(301, b"", "Location: /elsewhere")),
    "see other": say(http(303, b"", "Location: /elsewhere")),
    "temporarily elsewhere": say(http(307, b"", "Location: /elsewhere")),
    "not modified": say(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "request timeout": say(http(408)),
    "server error": say(http(500)),
    "bad gateway": say(http(502, b"<html>")),
    "unavailable, come again": say(http(503, b"", "Retry-After: 0")),
    "a status of its own": say(http(999)),
}


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_no_usable_answer_leaves_it_open_and_is_never_repeated(wire: MakeWire, answer: Any) -> None:
    heard = wire(answer)
    with within(3):
        assert outcome(start(heard.url)) == ("unanswered", "no_answer")
    assert (len(heard.requests), heard.connections) == (1, 1)


def test_a_timeout_leaves_it_open_and_is_never_repeated(wire: MakeWire) -> None:
    heard = wire(hang)
    with within(2):
        notice = start(heard.url, timeout_seconds=0.3)
    assert outcome(notice) == ("unanswered", "no_answer")
    assert notice.error
    assert notice.error.detail == "Telnyx did not answer in time"
    assert heard.connections == 1


def test_a_stop_without_an_answer_is_never_repeated_either(wire: MakeWire) -> None:
    for answer in (reset, say(http(500))):
        heard = wire(answer)
        error = client(heard.url).stop("account-1", "call-1", "sid-1")
        assert error
        assert error.kind is ErrorKind.NO_ANSWER
        assert heard.connections == 1


# An answer that is too much, or too slow


def test_an_endless_answer_is_not_read_to_its_end(wire: MakeWire) -> None:
    sent = 0

    def pour(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 256 * 2**20:
            connection.sendall(b" " * 65536)
            sent += 65536

    with within(5):
        assert outcome(start(wire(pour).url)) == ("unanswered", "no_answer")
    assert sent < 64 * 2**20


@pytest.mark.parametrize("status", [200, 404, 429, 500])
def test_a_large_answer_takes_no_memory(wire: MakeWire, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr("service.telnyx.client.PAUSES_SECONDS", (0, 0))
    bomb = gzip.compress(b" " * (100 * 2**20), 1)
    plain = say(http(status, b" " * (30 * 2**20)))
    for answer in (plain, say(http(status, bomb, "Content-Encoding: gzip"))):
        heard = wire(answer)
        tracemalloc.start()
        try:
            notice = start(heard.url)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert notice.kind is not NoticeKind.ACCEPTED
        assert peak < 10 * LARGEST_ANSWER


def test_an_answer_that_drips_is_given_up(wire: MakeWire) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(http(200, b"", length=10_000))
        for _ in range(400):
            connection.sendall(b" ")
            time.sleep(0.02)

    with within(3):
        assert outcome(start(wire(drip).url, timeout_seconds=0.5)) == ("unanswered", "no_answer")


# Usable answers, however odd


@pytest.mark.parametrize(
    "answer",
    [
        http(200, ACCEPTED),
        http(201, ACCEPTED),
        http(200, b'{"sid": "sid-1", "status": null, "new": [1.5e300]}', "Content-Type: text/plain"),
        http(200, '{"sid": "sid-1", "name": "Jürgen"}'.encode("latin-1"), "Content-Type: application/json"),
        http(200, '{"sid": "sid-1", "name": "ü"}'.encode("latin-1"), "Content-Type: text/x; charset=latin-1"),
        http(200, gzip.compress(ACCEPTED), "Content-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n"
        + ACCEPTED[:6]
        + b"\r\na\r\n"
        + ACCEPTED[6:]
        + b"\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n" + ACCEPTED,
        b"HTTP/1.1 100 Continue\r\n\r\n" + http(200, ACCEPTED),
        http(200, ACCEPTED, "Set-Cookie: a=b", "Retry-After: 3600", "Location: /elsewhere"),
    ],
)
def test_an_answer_with_a_sid_is_a_start(wire: MakeWire, answer: bytes) -> None:
    notice = start(wire(say(answer)).url)
    assert outcome(notice) == ("accepted", None)
    assert notice.siprec_sid == "sid-1"


@pytest.mark.parametrize(
    ("status", "told", "kind"),
    [
        (400, "refused", "rejected"),
        (401, "refused", "credentials"),
        (403, "refused", "credentials"),
        (404, "refused", "rejected"),
        (409, "refused", "rejected"),
        (413, "refused", "rejected"),
        (422, "refused", "rejected"),
        (408, "unanswered", "no_answer"),
        (500, "unanswered", "no_answer"),
        (503, "unanswered", "no_answer"),
    ],
)
def test_a_refusal_in_telnyx_s_words(sandbox: Sandbox, status: int, told: str, kind: str) -> None:
    refusal = Answer.error(status, code="10015", detail="Bad ünput")
    sandbox.behave(Behaviour(answer=refusal, stop_answer=refusal))
    asking = client(sandbox.url, api_key=sandbox.api_key)
    notice = asking.start(ORDER, CALLBACK)
    assert outcome(notice) == (told, kind)
    assert notice.error == Error(ErrorKind(kind), status, "10015", "Bad ünput")
    running = sandbox.begin("account-1", "v3:call-1", None)
    assert asking.stop("account-1", "v3:call-1", running.sid) == notice.error
    assert len(sandbox.requests) == 2


def test_the_sandbox_s_own_refusals_are_read(sandbox: Sandbox) -> None:
    wrong_key = client(sandbox.url, api_key="wrong").start(ORDER, CALLBACK)
    assert outcome(wrong_key) == ("refused", "credentials")
    unknown = client(sandbox.url, api_key=sandbox.api_key).stop("account-1", "call-1", "nobody")
    assert unknown == Error(ErrorKind.REJECTED, 404, None, "Resource not found")


@pytest.mark.parametrize(
    ("body", "code", "detail"),
    [
        (b"", None, None),
        (b"<html>", None, None),
        (b"[]", None, None),
        (b'{"errors": null}', None, None),
        (b'{"errors": []}', None, None),
        (b'{"errors": {}}', None, None),
        (b'{"errors": ["no"]}', None, None),
        (b'{"errors": [{"code": 10005}]}', "10005", None),
        (b'{"errors": [{"code": "10005", "title": "Not found"}]}', "10005", "Not found"),
        (b'{"errors": [{"code": {"a": 1}, "detail": ["x"]}]}', None, None),
        (b'{"errors": [{"detail": "a\\u0000b"}, {"detail": "second"}]}', None, "a\N{REPLACEMENT CHARACTER}b"),
        (b'{"errors": [{"detail": "\\ud800"}]}', None, "?"),
        (json.dumps({"errors": [{"detail": "d" * 9999}]}).encode(), None, "d" * LONGEST_DETAIL),
    ],
)
def test_a_refusal_in_any_words_is_a_refusal(
    wire: MakeWire, body: bytes, code: str | None, detail: str | None
) -> None:
    notice = start(wire(say(http(422, body))).url)
    assert notice.error == Error(ErrorKind.REJECTED, 422, code, detail)


def test_a_refusal_that_breaks_off_is_a_refusal(wire: MakeWire) -> None:
    assert outcome(start(wire(say(http(404, b'{"err', length=1000))).url)) == ("refused", "rejected")


# Too many requests: nothing was done, so it is asked again, briefly


HOUR = "Sun, 01 Mar 2026 13:00:00 GMT"  # from NOW


@pytest.mark.parametrize(
    ("headers", "times", "seconds"),
    [
        ((), 3, None),
        (("Retry-After: soon",), 3, None),
        (("Retry-After: -1",), 3, None),
        (("Retry-After: 0",), 3, 0),
        (("Retry-After: 1",), 3, 1),
        (("x-ratelimit-reset: 0.5",), 3, 0.5),
        ((f"Retry-After: {HOUR.replace('13:', '11:')}",), 3, 0),
        (("Retry-After: 2",), 1, 2),
        (("Retry-After: 120",), 1, 120),
        ((f"Retry-After: {HOUR}",), 1, 3600),
        (("x-ratelimit-reset: 7",), 1, 7),
        (("x-ratelimit-reset: 1", "Retry-After: 9"), 1, 9),
        (("Retry-After: soon", "x-ratelimit-reset: 9"), 1, 9),
        ((f"Retry-After: {'9' * 400}",), 3, None),
    ],
)
def test_too_many_requests_is_repeated_only_if_the_wait_is_short(
    wire: MakeWire, headers: tuple[str, ...], times: int, seconds: float | None
) -> None:
    heard = wire(say(http(429, b'{"errors": [{"code": "10011"}]}', *headers)))
    with within(5):
        notice = start(heard.url)
    assert outcome(notice) == ("refused", "rate_limited")
    assert notice.error == Error(ErrorKind.RATE_LIMITED, 429, "10011")
    assert notice.error.retry_after == (None if seconds is None else timedelta(seconds=seconds))
    assert notice.error.is_repeatable
    assert len(heard.requests) == times


def test_a_slow_429_is_not_repeated(wire: MakeWire) -> None:
    def answer(connection: socket.socket) -> None:
        time.sleep(RETRY_SECONDS)
        say(http(429))(connection)

    heard = wire(answer)
    assert outcome(start(heard.url)) == ("refused", "rate_limited")
    assert len(heard.requests) == 1


def test_asking_never_takes_longer_than_it_says(wire: MakeWire) -> None:
    """Here it is late, twice, with a 429, and then drips."""

    def answer(connection: socket.socket) -> None:
        time.sleep(0.4)
        if len(heard.requests) < 3:
            say(http(429, b"", "Retry-After: 1"))(connection)
            return
        say(http(200, b"", length=10_000))(connection)
        for _ in range(100):
            time.sleep(0.05)
            connection.sendall(b" ")

    heard = wire(answer)
    with within(longest_seconds(0.5)):
        start(heard.url, timeout_seconds=0.5)


def test_a_start_that_is_let_in_the_second_time_has_started(sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(answer=Answer.error(429, times=1, retry_after_seconds=1)))
    with within(3):
        notice = client(sandbox.url, api_key=sandbox.api_key).start(ORDER, CALLBACK)
    assert outcome(notice) == ("accepted", None)
    assert len(sandbox.requests) == 2


def test_silence_after_too_many_requests_leaves_it_open(wire: MakeWire) -> None:
    def answer(connection: socket.socket) -> None:
        say(http(429))(connection) if len(heard.requests) == 1 else reset(connection)

    heard = wire(answer)
    assert outcome(start(heard.url)) == ("unanswered", "no_answer")
    assert len(heard.requests) == 2


def test_nobody_is_followed_elsewhere(wire: MakeWire) -> None:
    elsewhere = wire(say(http(200, ACCEPTED)))
    for status in (301, 302, 303, 307, 308):
        heard = wire(say(http(status, b"", f"Location: {elsewhere.url}")))
        assert outcome(start(heard.url)) == ("unanswered", "no_answer")
    assert elsewhere.connections == 0


def test_a_call_is_as_telnyx_has_it(sandbox: Sandbox) -> None:
    asking = client(sandbox.url, api_key=sandbox.api_key)
    assert asking.call("account-1", "v3:call-1") == Call("in-progress")
    sandbox.end_call("v3:call-1")
    over = asking.call("account-1", "v3:call-1")
    assert isinstance(over, Call)
    assert over.status == "completed"
    assert over.ended_at is not None
    assert [request.method for request in sandbox.requests] == ["GET", "GET"]
    assert sandbox.requests[0].path.endswith("/texml/Accounts/account-1/Calls/v3:call-1")


@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        (Answer.error(404), ErrorKind.REJECTED, 404),
        (Answer.error(429, retry_after_seconds=7), ErrorKind.RATE_LIMITED, 429),
        (Answer.error(500), ErrorKind.NO_ANSWER, 500),
        (Answer("close"), ErrorKind.NO_ANSWER, None),
        (Answer(fields={"status": None}), ErrorKind.NO_ANSWER, 200),
    ],
)
def test_a_call_of_which_telnyx_says_nothing(
    sandbox: Sandbox, answer: Answer, kind: ErrorKind, status: int | None
) -> None:
    sandbox.behave(Behaviour(call_answer=answer))
    error = client(sandbox.url, api_key=sandbox.api_key).call("account-1", "v3:call-1")
    assert isinstance(error, Error)
    assert (error.kind, error.status) == (kind, status)
    assert len(sandbox.requests) == 1  # it is not asked again
