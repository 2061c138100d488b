"""One connection: uvicorn's HTTP protocol with limits to what a client may cost.

uvicorn starts the application with a request's headers, reads as long as it likes, and waits as long as it
takes. Here the application is started when the whole request is there, so a client that sends slowly,
partly or nothing costs a socket, and what it sends is limited in time and size; see `traffic`.
What the application must refuse is in `scope["state"]["refused"]`: a status, 413 or 503.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.web.traffic import Traffic

LARGEST_HEAD: Final = 16 * 1024
LARGEST_CALLBACK: Final = 1024 * 1024
LARGEST_REQUEST: Final = 64 * 1024  # of everybody but Telnyx
MOST_DISCARDED: Final = 1024 * 1024  # of a body that is refused; who hangs up on it may lose the answer
PIECE: Final = 4096  # bytes that are parsed at once; they hold at most 230 requests
SMALL_CHUNKS: Final = 256  # are let pass; beyond, a chunk has at least SMALL_CHUNK bytes on average
SMALL_CHUNK: Final = 64

Waiting = tuple[RequestResponseCycle, ASGI3Application]


class _TooLarge(Exception):
    """The headers, or what surrounds the parts of a body."""


class Stage(Enum):
    """What is incomplete of the latest request."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


def largest_body(path: str) -> int:
    """In bytes, of a request to this decoded path."""
    return LARGEST_CALLBACK if path.startswith("/callbacks/") else LARGEST_REQUEST


class Connection(HttpToolsProtocol):
    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._traffic: Traffic = app_state["traffic"]
        self._running: RequestResponseCycle | None = None  # the application works on it
        self._incomplete: Waiting | None = None  # its turn has come, its body has not
        self._rest = b""  # received and not parsed yet
        self._is_over = False  # nothing more is read
        self._stage = Stage.NOTHING
        self._timed: Stage | None = Stage.HEAD  # what its time in `traffic` is for
        self._rests = False
        self._begin()

    def _begin(self) -> None:
        """With a new request."""
        self._head = 0  # bytes, as parsed
        self._raw = 0  # bytes, as they came
        self._length = 0  # that it says its body has
        self._size = 0  # that its body has so far
        self._parts = 0  # in which it came
        self._limit = LARGEST_REQUEST
        self._is_admitted = False
        self._is_refused = False
        self._keeps_alive = True
        self._upgrades = False

    # What the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._traffic.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._running:
            self._running.disconnected = True
            self._running.message_event.set()
        self._is_over, self._rest = True, b""
        self._release()
        while self.pipeline:
            self._traffic.release(len(self.pipeline.pop()[0].body))
        self._traffic.closed(self)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client may say that it sends no more, and still read."""
        if self._running:
            self._last().keep_alive = False
        return self._running is not None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._traffic.is_stuck(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._traffic.reads(self)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        if self._rests:
            self._rests = False
            self._traffic.received(self)
        if self._rest or self.pipeline:
            self._rest += data
            self.flow.pause_reading()
            return
        self._rest = data
        self._parse()

    # What the server and the traffic call

    def shutdown(self) -> None:
        """Whoever has an answer coming gets it; the others have a second left, in `traffic`."""
        self._traffic.end()
        if self._running:
            self._last().keep_alive = False

    def time_out(self) -> None:
        if self._running:
            self._last().keep_alive = False
        elif self._stage is Stage.NOTHING:
            self.transport.close()
        else:
            self._fail(HTTPStatus.REQUEST_TIMEOUT)

    def abort(self) -> None:
        self._is_over = True
        self._release()
        self.transport.abort()

    def held(self) -> int:
        return len(self._incomplete[0].body) if self._incomplete else 0

    def unread(self) -> int:
        return self.transport.get_write_buffer_size()

    # Parsing

    def _parse(self) -> None:
        """What was received, in pieces, until a request has to wait for an earlier one's answer."""
        self._unset_keepalive_if_required()
        data, at = self._rest, 0
        while at < len(data) and not self.pipeline and not self._is_over:
            if not self._traffic.has_time():
                self.loop.call_soon(self._parse)
                break
            at += self._parse_piece(data[at : at + PIECE])
        self._rest = b"" if self._is_over else data[at:]
        if self._rest:
            self.flow.pause_reading()
        elif not self.pipeline and not self._is_over:
            self.flow.resume_reading()
        self._set_time()

    def _parse_piece(self, piece: bytes) -> int:
        """How much of it was parsed."""
        self._raw += len(piece)
        try:
            self.parser.feed_data(piece)
            self._check_raw()
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade()
            return int(upgrade.args[0])
        except _TooLarge:
            self._fail(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except httptools.HttpParserError as error:
            is_large = isinstance(error.__context__, _TooLarge)
            self._fail(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if is_large else HTTPStatus.BAD_REQUEST)
        return len(piece)

    def _check_raw(self) -> None:
        """The parser tells of a header once it is whole; one without end has to be noticed here."""
        if self._stage is Stage.HEAD and self._raw > LARGEST_HEAD + PIECE:
            raise _TooLarge
        if self._stage is Stage.BODY and self._raw > 2 * self._limit + MOST_DISCARDED:
            raise _TooLarge

    def _set_time(self) -> None:
        """A client has a time for headers and one for a body, and none while it waits for us."""
        stage = Stage.NOTHING if self._rest or self.pipeline or self._is_over else self._stage
        if stage is Stage.NOTHING:
            if self._timed is not None:
                self._timed = None
                self._traffic.received(self)
        elif stage is not self._timed:
            self._timed = stage
            self._traffic.receives(self)

    def _decline_upgrade(self) -> None:
        """We stay with HTTP/1.1, as a server may. The parser would take what follows for another protocol.

        Java's HTTP client offers h2c with each request that it sends without TLS, bodies included.
        """
        method = self.parser.get_method()
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % pair for pair in self.headers if pair[0] != b"upgrade"]
        if method == b"CONNECT":
            self._fail(HTTPStatus.METHOD_NOT_ALLOWED)
            return
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))

    # What the parser calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin()
        self._stage = Stage.HEAD
        if self._timed is Stage.BODY:
            self._timed = Stage.NOTHING

    def on_url(self, url: bytes) -> None:
        self.url += url
        self._add_to_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._add_to_head(len(name) + len(value))
        if self._stage is not Stage.HEAD:
            return  # after the last chunk
        name = name.lower()
        if name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        elif name == b"content-length":
            self._length = int(value)
        self.headers.append((name, value))

    def _add_to_head(self, size: int) -> None:
        self._head += size
        if self._head > LARGEST_HEAD:
            raise _TooLarge

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._upgrades = True
            return
        self._stage = Stage.BODY
        super().on_headers_complete()
        if self._traffic.is_ending:
            self.cycle.keep_alive = False
        self._limit = largest_body(self.scope["path"])
        self._is_admitted = True
        if self._length > self._limit:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif self._incomplete:
            self._let_continue(self._incomplete[0])

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        self._parts += 1
        if self._parts > SMALL_CHUNKS + self._size // SMALL_CHUNK:
            raise _TooLarge  # a byte in a chunk of its own costs us as much as a page
        if self._is_refused:
            if self._size > self._limit + MOST_DISCARDED:
                self._fail(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif self._size > self._limit:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif not self._traffic.hold(self, len(body)):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            self.cycle.body += body

    def on_message_complete(self) -> None:
        if self._upgrades:
            return
        self._stage = Stage.NOTHING
        self.cycle.more_body = False
        self.cycle.message_event.set()
        if self._incomplete:
            cycle, app = self._incomplete
            self._incomplete = None
            self._start_asgi_task(cycle, app)
        elif self._is_refused and self.cycle.response_complete:
            self._rest_or_close()

    # Answering

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Its turn has come: all earlier requests are answered."""
        if cycle is self.cycle and self._stage is Stage.BODY and not self._is_refused:
            self._incomplete = cycle, app
            if self._is_admitted:
                self._let_continue(cycle)
            return
        self._running = cycle
        size = len(cycle.body)

        async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            try:
                await app(scope, receive, send)
            finally:  # not before: a client that leaves does not make a body smaller that is worked on
                self._traffic.release(size)

        super()._start_asgi_task(cycle, run)

    def _let_continue(self, cycle: RequestResponseCycle) -> None:
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, status: HTTPStatus) -> None:
        """Start the application, which answers `status`; what comes of the body meanwhile is discarded."""
        cycle = self.cycle
        self._keeps_alive = cycle.keep_alive
        self._traffic.release(len(cycle.body))
        cycle.body = bytearray()
        cycle.more_body = False
        cycle.message_event.set()
        self._is_refused = True
        self.scope["state"]["refused"] = status
        if cycle.waiting_for_100_continue:  # who waits will not send the body, and could not go on without
            cycle.waiting_for_100_continue = False
            cycle.keep_alive = False
        else:
            cycle.keep_alive = True  # until the rest has come; `_rest_or_close` decides
        if self._incomplete:
            _, app = self._incomplete
            self._incomplete = None
            self._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        self._running = None
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._rest or self.pipeline:
            self.flow.pause_reading()
        if is_last and self._stage is Stage.NOTHING:
            self._rest_or_close()
        if self._rest:
            self.loop.call_soon(self._parse)
        else:
            self._set_time()

    def _rest_or_close(self) -> None:
        if self._is_refused and not self._keeps_alive:
            self.transport.close()
        elif not self._rest:
            self._rests = True
            self._traffic.rests(self)

    def _fail(self, status: HTTPStatus) -> None:
        """Nothing more can be read. Earlier requests are answered, then the connection is closed."""
        self._traffic.count(status.phrase.lower())
        self._is_over = True
        self._release()
        if self._running:
            self._last().keep_alive = False
            return
        if not self._is_refused:
            line = STATUS_LINE[status]
            self.transport.write(line + b"connection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()

    def _last(self) -> RequestResponseCycle:
        """The latest request that will be answered."""
        last = self.pipeline[0][0] if self.pipeline else self._running
        assert last is not None
        return last

    def _release(self) -> None:
        """What was received of a request that will never be complete."""
        if self._incomplete:
            self._traffic.release(self.held())
            self._incomplete = None
        elif self.pipeline and self.pipeline[0][0].more_body:
            self._traffic.release(len(self.pipeline.popleft()[0].body))
