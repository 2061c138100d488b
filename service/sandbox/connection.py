"""The sandbox's end of its TCP connections: threads that serve them, and ways to fail at answering."""

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

POLL_SECONDS = 0.05
LONGEST_HANG_SECONDS = 600.0


class Connection(WSGIRequestHandler):
    """One connection, for one request. The application finds it in the environment."""

    server: "Server"
    disable_nagle_algorithm = True  # or the body would wait until the head is acknowledged

    afterwards: Callable[[], object] = staticmethod(lambda: None)  # called when the answer was sent

    def make_environ(self) -> "WSGIEnvironment":
        try:
            path = urlsplit(self.path).path
        except ValueError as bad:
            self.send_error(400, f"Bad request target: {bad}")
            raise ConnectionAbortedError from bad
        # It stays encoded, so that an encoded slash remains part of a sid.
        return super().make_environ() | {"PATH_INFO": path, "sandbox.connection": self}

    def run_wsgi(self) -> None:
        self.close_connection = True  # whatever becomes of the answer
        try:
            super().run_wsgi()
        finally:
            self.afterwards()

    def log(self, *args: Any, **more: Any) -> None:
        """Silent: whoever watches gets every request."""

    log_request = log

    def wait(self, seconds: float) -> None:
        """Wait, whatever the client does. Raises ConnectionAbortedError when the sandbox stops."""
        if self.server.is_stopping.wait(seconds):
            raise ConnectionAbortedError

    def hang(self) -> None:
        """Say nothing until the client gives up, or the sandbox stops."""
        self.connection.settimeout(LONGEST_HANG_SECONDS)
        while self.connection.recv(4096):
            pass

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        no_linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        self.rfile.close()  # it holds the socket open
        self.connection.close()


class Server(ThreadedWSGIServer):
    """Accepts connections, each on a daemon thread, and ends them all when it stops."""

    def __init__(self, host: str, port: int, app: "WSGIApplication") -> None:
        """Listen. Raises OSError."""
        # Bound here, because werkzeug would end the process if it cannot.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family, backlog=128) as listener:
            super().__init__(host, port, app, Connection, fd=listener.fileno())
        self.is_stopping = Event()
        self._open: set[socket.socket] = set()
        self._listening = Thread(target=self.serve_forever, args=(POLL_SECONDS,), name="sandbox", daemon=True)
        self._listening.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self._open.discard(request)

    def stop(self) -> None:
        """Accept nothing more, and hang up on everybody."""
        self.is_stopping.set()
        self.shutdown()
        self._listening.join()
        for connection in tuple(self._open):
            with suppress(OSError):  # it was closed by the other side, or is just being closed
                connection.shutdown(socket.SHUT_RDWR)
