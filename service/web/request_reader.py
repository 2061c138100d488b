"""Reads requests off a connection: uvicorn's parsing with limits to what a client may send."""

from __future__ import annotations

import asyncio
from enum import Enum
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.canary.mark import is_canary
from service.telnyx.callback_url import is_callback
from service.web.traffic import Peer, Traffic

KIB: Final = 1024
LARGEST_HEAD: Final = 16 * KIB
SURROUNDINGS: Final = 64  # bytes that a header counts for beside its text: it costs us more than its bytes
LARGEST_CALLBACK: Final = 1024 * KIB
LARGEST_REQUEST: Final = 64 * KIB  # of everybody but Telnyx
MOST_DISCARDED: Final = (
    1024 * KIB
)  # of a body that is refused, or after it was hung up; who sends more may lose the answer
PIECE: Final = 4 * KIB  # is parsed at once; it holds at most 230 requests
SMALL_CHUNKS: Final = 256  # are let pass; beyond, a chunk has at least SMALL_CHUNK bytes on average
SMALL_CHUNK: Final = 64


class Stage(Enum):
    """What is incomplete of the latest request."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


class Unacceptable(Exception):
    """What is sent cannot be read any further. Its argument is the status to answer."""


def largest_body(path: str) -> int:
    """In bytes, of a request to this decoded path."""
    return LARGEST_CALLBACK if is_callback(path) or is_canary(path) else LARGEST_REQUEST


class RequestReader(HttpToolsProtocol, Peer):
    """What it does with a request, `Connection` says."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._traffic: Traffic = app_state["traffic"]
        self._rest = b""  # received and not parsed yet
        self._is_over = False  # nothing more is read
        self._stage = Stage.NOTHING
        self._timed: Stage | None = Stage.HEAD  # what its time in `traffic` is for
        self._begin()

    def _begin(self) -> None:
        """With a new request."""
        self._head = 0  # bytes, as parsed
        self._raw = 0  # bytes, as they came
        self._length = 0  # that it says its body has
        self._size = 0  # that its body has so far
        self._chunks = 0  # in which it came
        self._limit = LARGEST_REQUEST
        self._is_admitted = False  # it may send its body
        self._is_refused = False  # the application says so, and its body is discarded
        self._upgrades = False

    def admit(self) -> None:
        """The headers are there, and say nothing against the body."""
        raise NotImplementedError

    def refuse(self, status: HTTPStatus) -> None:
        """Let the application answer with `status`, without the body."""
        raise NotImplementedError

    def complete(self) -> None:
        """The latest request is whole."""
        raise NotImplementedError

    def hang_up(self, status: HTTPStatus) -> None:
        """Nothing more is read."""
        raise NotImplementedError

    def unread(self) -> int:
        return self.transport.get_write_buffer_size()

    # In pieces

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        if self._rest or self.pipeline:
            self._rest += data
            self.flow.pause_reading()
            return
        self._rest = data
        self._parse()

    def _parse(self) -> None:
        """What was received, until a request has to wait for an earlier one's answer."""
        self._unset_keepalive_if_required()
        data, at = self._rest, 0
        while at < len(data) and not self.pipeline and not self._is_over:
            if not self._traffic.has_time():
                self._traffic.turn(self._parse)
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
        except Unacceptable as error:
            self._fail(error)
        except httptools.HttpParserError as error:
            self._fail(error.__context__)
        return len(piece)

    def _check_raw(self) -> None:
        """The parser tells of a header once it is whole; one without end has to be noticed here."""
        if self._stage is Stage.HEAD and self._raw > LARGEST_HEAD + PIECE:
            raise Unacceptable(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if self._stage is Stage.BODY and self._raw > 2 * self._limit + MOST_DISCARDED:
            raise Unacceptable(HTTPStatus.BAD_REQUEST)

    def _fail(self, error: BaseException | None) -> None:
        status = error.args[0] if isinstance(error, Unacceptable) else HTTPStatus.BAD_REQUEST
        self._traffic.count(status.phrase.lower())
        self.hang_up(status)

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
        if method == b"CONNECT":
            self._fail(Unacceptable(HTTPStatus.METHOD_NOT_ALLOWED))
            return
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % pair for pair in self.headers if pair[0] != b"upgrade"]
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
        self._add_to_head(len(name) + len(value) + SURROUNDINGS)
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
            raise Unacceptable(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._upgrades = True
            return
        self._stage = Stage.BODY
        super().on_headers_complete()
        self._limit = largest_body(self.scope["path"])
        self._is_admitted = True
        if self._length > self._limit:
            self._is_refused = True
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self.admit()

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        self._chunks += 1
        if self._chunks > SMALL_CHUNKS + self._size // SMALL_CHUNK:
            raise Unacceptable(
                HTTPStatus.BAD_REQUEST
            )  # a byte in a chunk of its own costs us as much as a page
        if self._is_refused:
            if self._size > self._limit + MOST_DISCARDED:
                raise Unacceptable(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif self._size > self._limit:
            self._is_refused = True
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif self._traffic.hold(self, len(body)):
            self.cycle.body += body
        else:
            self._is_refused = True
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def on_message_complete(self) -> None:
        if self._upgrades:
            return
        self._stage = Stage.NOTHING
        self.cycle.more_body = False
        self.cycle.message_event.set()
        self.complete()
