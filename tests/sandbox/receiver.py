"""Somebody who orders callbacks: a real server that keeps what it is sent and answers as the test chooses."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    fields: dict[str, str]

    @property
    def event(self) -> str:
        return self.fields["SiprecEvent"]


class Receiver:
    """What was received, in order. `answer` is asked for the status of each; None ends the connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[Received] = []
        self.answer: Callable[[Received], int | None] = lambda callback: 200
        self._changed = threading.Condition()

    @property
    def events(self) -> list[str]:
        return [callback.event for callback in self.received]

    def take(self, callback: Received) -> int | None:
        with self._changed:
            self.received.append(callback)
            self._changed.notify_all()
        return self.answer(callback)

    def wait_for(self, count: int) -> list[Received]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.received) >= count, 5), self.events
            return list(self.received)

    def answer_in_turn(self, *statuses: int | None) -> None:
        """Answer the first callbacks like this, all others 200."""
        left = iter(statuses)
        self.answer = lambda callback: next(left, 200)


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            fields = dict(parse_qsl(body.decode("latin-1") or query))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = receiver.take(Received(self.command, path, headers, body, fields))
            if status is not None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.send_header("Location", "/elsewhere")
                self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    receiver = Receiver(f"{scheme}://127.0.0.1:{server.server_port}/callback")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
