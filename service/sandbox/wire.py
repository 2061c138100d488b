"""The sandbox's end of a TCP connection: reads requests; answers them, or fails to in every way."""

import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Condition, Event
from typing import Any

from .orders import read_fields
from .records import Request
from .refusal import Refusal, Reply
from .sessions import now

LARGEST_BODY_BYTES = 1024 * 1024
LONGEST_HANG_SECONDS = 600.0
GLANCE_SECONDS = 0.05  # how often a hanging connection is looked at
FAREWELL_SECONDS = 3.0


class Wire(BaseHTTPRequestHandler):
    """One connection, used for one request after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client went away, or we hung up: nothing is left to say
            super().handle()

    def serve(self) -> None:
        try:
            request = self._read()
        except Refusal as refusal:
            self.close_connection = True  # what else the client is sending was not read
            self.say(refusal.reply)
        else:
            self.server.answer(request, self)

    # the names that BaseHTTPRequestHandler looks for
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve  # noqa: N815

    def say(self, reply: Reply) -> None:
        headers = {**reply.headers, "content-length": str(len(reply.body))}
        if self.close_connection:
            headers["connection"] = "close"
        lines = [f"HTTP/1.1 {reply.status} {responses.get(reply.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        # In one piece, or the head would travel alone and the body wait for its acknowledgement.
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + reply.body)

    def wait(self, seconds: float) -> None:
        """Wait, whatever the client does; a sandbox that stops hangs up."""
        if self.server.is_stopping.wait(seconds):
            raise ConnectionAbortedError

    def wait_for(self, event: Event, seconds: float) -> None:
        """Wait for `event`, at most so long; a sandbox that stops hangs up."""
        deadline = time.monotonic() + seconds
        while not event.wait(GLANCE_SECONDS) and time.monotonic() < deadline:
            self.wait(0)

    def hang(self) -> None:
        """Say nothing until the client gives up."""
        deadline = time.monotonic() + LONGEST_HANG_SECONDS
        while time.monotonic() < deadline and not self._client_is_gone():
            self.wait(GLANCE_SECONDS)
        self.hang_up()

    def hang_up(self) -> None:
        self.close_connection = True

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.close_connection = True
        no_linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        self.rfile.close()  # it holds the socket open
        self.connection.close()

    def log_message(self, *args: Any) -> None:
        """Silent: whoever wants to watch is told of every request."""

    def _client_is_gone(self) -> bool:
        try:
            glimpse: bytes = self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:  # nothing to read: it is still waiting
            return False
        return glimpse == b""

    def _read(self) -> Request:
        path, _, query = self.path.partition("?")
        body = self._read_body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(now(), self.command, path, query, headers, body, _fields(body))

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding"):
            raise Refusal(411, "the sandbox needs a Content-Length")
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            raise Refusal(400, f"Content-Length is no number: {length!r}")
        if len(length) > 9 or int(length) > LARGEST_BODY_BYTES:
            raise Refusal(413, f"the body is larger than {LARGEST_BODY_BYTES} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionResetError("the client left in the middle of a body")
        return body


def _fields(body: bytes) -> dict[str, str]:
    """What can be read of the body; the sandbox records nonsense too, and refuses it afterwards."""
    try:
        return read_fields(body)
    except Refusal:
        return {}


class Server(ThreadingHTTPServer):
    """Accepts connections, each on a daemon thread, and ends them all when it stops."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], answer: Callable[[Request, Wire], None]) -> None:
        super().__init__(address, Wire)
        self.answer = answer
        self.is_stopping = Event()
        self._open: set[socket.socket] = set()
        self._closed_one = Condition()

    def server_bind(self) -> None:
        # HTTPServer's own asks the resolver for the name of the host, which can take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._closed_one:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._closed_one:
            self._open.discard(request)
            self._closed_one.notify_all()

    def stop(self) -> None:
        """Accept nothing more, hang up on everybody, and wait for their threads."""
        self.is_stopping.set()
        self.shutdown()
        self.server_close()
        with self._closed_one:
            for connection in self._open:
                with suppress(OSError):  # it was closed by the other side, or is just being closed
                    connection.shutdown(socket.SHUT_RDWR)
            self._closed_one.wait_for(lambda: not self._open, FAREWELL_SECONDS)
