"""Why a callback could not be delivered: said in the record of deliveries, and in the terminal."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.sandbox import Behaviour, Delivery, Sandbox, Session
from service.sandbox.cli import line
from tests.sandbox.conftest import App
from tests.sandbox.receiver import Receiver, receiving

CERTIFICATE = Path(__file__).with_name("self_signed.pem")  # with its key; of nobody, for 127.0.0.1
ONCE = Behaviour(attempts=1, timeout_seconds=0.5)


def deliver(url: str, sandbox: Sandbox | None = None) -> Delivery:
    session = Session("AC1", "C1", status_callback=url)
    return (sandbox or Sandbox()).send(session, "siprec-started", ONCE)


@pytest.fixture
def https_receiver() -> Iterator[Receiver]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    with receiving(tls) as receiver:
        yield receiver


@pytest.fixture
def stranger(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of somebody who takes one connection, and answers with the bytes of the parameter."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, suppress(ConnectionError):
                connection.recv(65536)
                connection.sendall(request.param)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        answering = threading.Thread(target=answer)
        answering.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        answering.join(5)


def test_a_slow_receiver_and_an_absent_one_count_as_not_delivered(app: App, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(attempts=2, backoff_seconds=0.01, timeout_seconds=0.1))
    release = threading.Event()
    app.receiver.answer = lambda callback: 200 if release.wait(5) else None
    app.started()
    release.set()
    app.start(StatusCallback="http://127.0.0.1:1/")
    assert sandbox.wait_until_idle(5)
    late, absent = "no answer within 0.1 s", "Connection refused"
    assert [each.error for each in sandbox.deliveries] == [late, late, absent, absent]
    assert all(each.status is None for each in sandbox.deliveries)


def test_a_receiver_with_a_self_signed_certificate_is_trusted_where_it_is_named(
    https_receiver: Receiver,
) -> None:
    delivery = deliver(https_receiver.url, Sandbox(ca_file=CERTIFICATE))
    assert (delivery.status, delivery.error) == (200, None)
    assert https_receiver.events == ["siprec-started"]


def test_a_certificate_that_nobody_vouches_for_is_named_as_the_reason(https_receiver: Receiver) -> None:
    delivery = deliver(https_receiver.url)
    assert (delivery.status, https_receiver.received) == (None, [])
    assert delivery.error is not None
    assert delivery.error.startswith("TLS failed: ")
    assert "self-signed certificate" in delivery.error


def test_another_status_than_200_is_the_reason(receiver: Receiver) -> None:
    receiver.answer = lambda callback: 503
    delivery = deliver(receiver.url)
    assert (delivery.status, delivery.error) == (503, "answered 503, not 200")
    assert " attempt 1: failed: answered 503, not 200 in " in line(delivery)


@pytest.mark.parametrize(
    ("stranger", "reason"),
    [
        (b"", "Remote end closed connection without response"),
        (b"SSH-2.0\r\n\r\n", r"BadStatusLine: 'SSH-2.0\r\n'"),
    ],
    indirect=["stranger"],
)
def test_what_is_no_http_answer_is_the_reason(stranger: str, reason: str) -> None:
    assert deliver(f"http://{stranger}/").error == reason


@pytest.mark.parametrize("stranger", [b"HTTP/1.1 200 OK\r\n\r\n"], indirect=True)
def test_a_receiver_that_speaks_no_tls_is_the_reason(stranger: str) -> None:
    assert str(deliver(f"https://{stranger}/").error).startswith("TLS failed: [SSL: ")


@pytest.mark.parametrize("url", ["http://a b/", "http://\udcff/", "http://x..y/", "http://[::1/"])
def test_an_address_that_is_none_is_a_reason_and_no_crash(url: str) -> None:
    delivery = deliver(url)
    assert delivery.status is None
    assert delivery.error
