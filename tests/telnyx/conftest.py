"""A Telnyx that does with a connection whatever a test wants of it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

Answer = Callable[[socket.socket], None]


class Wire:
    """Listens on 127.0.0.1, reads each request and leaves the rest to `answer`; counts the requests.

    A request is read up to the end of its body, or, if `is_http` is false, as far as it comes at once.
    """

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None, *, is_http: bool = True) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._answer = answer
        self._tls = tls
        self._is_http = is_http
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/v2"
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(8)
        self._pool.submit(self._listen)

    def close(self) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._pool.shutdown()

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._pool.submit(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            connection.settimeout(5)
            if self._tls:
                connection = stack.enter_context(self._tls.wrap_socket(connection, server_side=True))
            request = _request(connection) if self._is_http else connection.recv(65536)
            if request:
                self.requests.append(request)
                self._answer(connection)


@pytest.fixture
def wire() -> Iterator[Callable[..., Wire]]:
    """Make one: `wire(answer)`."""
    made: list[Wire] = []

    def make(answer: Answer, tls: ssl.SSLContext | None = None, *, is_http: bool = True) -> Wire:
        made.append(Wire(answer, tls, is_http=is_http))
        return made[-1]

    yield make
    for one in made:
        one.close()


def say(*parts: bytes) -> Answer:
    """Send this, and close."""

    def answer(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return answer


def hang(connection: socket.socket) -> None:
    """Say nothing until the client leaves."""
    while connection.recv(1):
        pass


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _request(connection: socket.socket) -> bytes:
    """All of one request: head, and as much body as it announces."""
    read = b""
    while b"\r\n\r\n" not in read:
        part = connection.recv(65536)
        if not part:
            return b""
        read += part
    head, _, body = read.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(lengths[0].split(b":")[1]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
