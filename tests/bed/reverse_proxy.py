"""A reverse proxy as operators set one up before the service: well, or with one of the usual mistakes."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

PIECE = 64 * 1024
OF_THE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "host"}


@dataclass(frozen=True)
class Manners:
    """How it is set up; as it stands here, it passes everything."""

    status: int | None = None  # what it answers by itself to everything
    location: str | None = None  # with `status`
    body: bytes = b"<h1>Welcome to nginx!</h1>"  # with `status`
    largest_body: int | None = None  # bytes; beyond, 413 before the body was read
    seconds: float = 60  # that it waits for an answer; then 504
    buffers: bool = False  # an answer until it is whole
    without: frozenset[str] = frozenset()  # headers of requests, in lower case
    only: str = "/"  # what paths begin with; others are answered 404
    clock: timedelta = timedelta(0)  # added to an answer's Date


class ReverseProxy:
    """Before `target` (http), from `with` to its end, on threads of this process; `manners` may change."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        self.manners = Manners()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.proxy = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{self.target.path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do(self) -> None:
        self.close_connection = True
        proxy: ReverseProxy = self.server.proxy  # type: ignore[attr-defined]
        manners, length = proxy.manners, int(self.headers.get("Content-Length", "0"))
        if manners.largest_body is not None and length > manners.largest_body:
            self._answer(413)
            return
        body = self.rfile.read(length)
        if manners.status is not None:
            named = {"Location": manners.location} if manners.location else {}
            self._answer(manners.status, manners.body, **named)
        elif not self.path.startswith(manners.only):
            self._answer(404)
        else:
            self._pass(proxy, manners, body)

    do_GET = do_POST = do  # noqa: N815 (as the standard library has it)

    def _pass(self, proxy: ReverseProxy, manners: Manners, body: bytes) -> None:
        left_out = OF_THE_CONNECTION | manners.without
        headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
        began = time.monotonic()
        upstream = http.client.HTTPConnection(proxy.target.netloc, timeout=manners.seconds)
        try:
            upstream.request(self.command, self.path, body or None, headers)
            answer = upstream.getresponse()
            whole = answer.read() if manners.buffers else None
            self._head(answer, manners)
            if whole is not None:
                self.wfile.write(whole)
            while whole is None and (part := answer.read1(PIECE)):
                self.wfile.write(part)
                self.wfile.flush()
        except TimeoutError:
            assert time.monotonic() - began >= manners.seconds
            self._answer(504)
        except OSError:
            self._answer(502)
        finally:
            upstream.close()

    def _head(self, answer: http.client.HTTPResponse, manners: Manners) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() == "date" and manners.clock:
                value = format_datetime(parsedate_to_datetime(value) + manners.clock, usegmt=True)
            if name.lower() not in OF_THE_CONNECTION:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response_only(status)
        for name, value in {**headers, "Content-Length": str(len(body)), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""
