"""A message reaches its receiver as its format has it, signed, and says what came back."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from service.webhooks import client
from service.webhooks.client import Receiver
from service.webhooks.message import Message
from tests.webhooks.receiver import SECRET, AlertReceiver

AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
MESSAGE = Message(
    "01a2.1",
    "opened",
    "2 calls <b> & more.",
    "recorder",
    "Check it.",
    "https://l.example/s",
    AT,
    {"id": "01a2"},
)


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    one = AlertReceiver()
    yield one
    one.close()


def send(url: str, form: str = "standard", secret: str | None = SECRET) -> client.Outcome:
    return Receiver(url, form, secret, lambda: datetime.now(UTC)).send(MESSAGE)


def test_a_standard_message_is_signed_as_the_library_verifies_it(receiver: AlertReceiver) -> None:
    assert send(receiver.url) == client.Outcome(is_taken=True, text="200 thanks")
    (one,) = receiver.received
    document = one.verified()
    assert one.id == "01a2.1"
    assert document == {
        "type": "alert.opened",
        "timestamp": "2026-11-28T12:00:00+00:00",
        "data": {
            "id": "01a2",
            "words": "2 calls <b> & more.",
            "side": "recorder",
            "what_to_do": "Check it.",
            "link": "https://l.example/s",
        },
    }
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(one.body.replace(b"2 calls", b"9 calls"), one.headers)


def test_without_a_secret_nothing_is_signed(receiver: AlertReceiver) -> None:
    send(receiver.url, secret=None)
    assert "webhook-signature" not in receiver.received[0].headers
    assert receiver.received[0].id == "01a2.1"


def test_slack_gets_text_and_blocks_with_its_own_signs_escaped(receiver: AlertReceiver) -> None:
    send(receiver.url, "slack")
    document = receiver.received[0].document
    assert document["text"] == "Opened: 2 calls &lt;b&gt; &amp; more."
    assert [block["type"] for block in document["blocks"]] == ["section", "actions"]
    assert document["blocks"][1]["elements"][0]["url"] == "https://l.example/s"


def test_teams_gets_an_adaptive_card(receiver: AlertReceiver) -> None:
    send(receiver.url, "teams")
    (attachment,) = receiver.received[0].document["attachments"]
    assert receiver.received[0].document["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["content"]["body"][0]["text"] == "Opened: 2 calls <b> & more."


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 429, 500, 503])
def test_only_2xx_is_taken_and_no_redirect_is_followed(receiver: AlertReceiver, status: int) -> None:
    receiver.status, receiver.location = status, receiver.url
    outcome = send(receiver.url)
    assert not outcome.is_taken
    assert outcome.text.startswith(str(status))
    assert len(receiver.received) == 1


def test_a_slow_receiver_is_left_after_the_timeout(
    receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "READ_SECONDS", 0.2)
    receiver.delay = 2
    began = time.monotonic()
    assert send(receiver.url) == client.Outcome(is_taken=False, text="ReadTimeout")
    assert time.monotonic() - began < 2


@contextmanager
def dripping() -> Iterator[str]:
    """A server that sends the head of its answer byte by byte, for ever; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as connections:
        ended = threading.Event()

        def drip() -> None:
            while not ended.is_set():
                connection = connections.enter_context(server.accept()[0])
                threading.Thread(target=drip_to, args=[connection]).start()

        def drip_to(connection: socket.socket) -> None:
            with suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not ended.wait(0.05):
                    connection.sendall(b"x")
                connection.close()

        accepting = threading.Thread(target=drip, daemon=True)
        accepting.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        ended.set()
        socket.create_connection(server.getsockname()).close()
        accepting.join()


def test_who_answers_byte_by_byte_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_SEND", 0.3)
    with dripping() as url:
        texts = [send(url).text for _ in range(client.MOST_LEFT + 1)]
    ended, refused = "its answer did not come to an end", "4 earlier requests have not come to an end"
    assert texts == [*[ended] * client.MOST_LEFT, refused]


def test_nobody_there_is_said_without_the_url() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = send(f"http://127.0.0.1:{unused.getsockname()[1]}/?token=do-not-log-me")
    assert outcome == client.Outcome(is_taken=False, text="ConnectionError")


def test_the_timestamp_is_fresh_each_time_and_the_id_is_the_same(receiver: AlertReceiver) -> None:
    times = iter([AT, AT + timedelta(minutes=30)])
    one = Receiver(receiver.url, "standard", SECRET, lambda: next(times))
    one.send(MESSAGE)
    one.send(MESSAGE)
    first, second = receiver.received
    assert first.id == second.id
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 1800


def test_the_heartbeat_is_a_get(receiver: AlertReceiver) -> None:
    assert client.beat(receiver.url).is_taken
    assert receiver.received[0].method == "GET"
