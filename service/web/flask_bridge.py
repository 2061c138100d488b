"""Flask beside the event loop: WSGI in a bounded pool of threads, whole requests in and whole answers out.

A thread is held only while the application computes: neither by a client that sends slowly nor by one that
reads slowly. An answer of more than WHOLE_ANSWER is fetched in parts, each when the client has read the
one before, by a few threads of their own.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication, WSGIEnvironment

from service.exports.order import ExportOrder
from service.log_lines import fields
from service.web.asgi import Headers, Receive, Scope, Send, answer, answer_problem, whole_body
from service.web.exports import EXPORT, Exports
from service.web.pace import DEBT, TURN, ClientLeft, ReadPace, TooManyWait
from service.web.problems import Problem
from service.web.thread_pool import Pool, PoolFull
from service.web.waiting import MAY_WAIT, NOTE, WAIT, WOKEN, Wait
from service.web.waiting_readers import WaitingReaders

WHOLE_ANSWER: Final = 8 * 1024 * 1024  # bytes
PART: Final = 256 * 1024  # bytes, of a larger one
STREAM_THREADS: Final = 4
WAITING_FOR_EACH: Final = 4  # requests may wait for each thread, and as many for their turn to read
READS: Final = {"GET", "HEAD"}  # others may wait for Telnyx for long, and compute little
NOTES: Final = "service.notes"  # in the environment: what the access log shall have

log = logging.getLogger(__name__)


class Answer:
    """Of a WSGI application that was called: status, headers, and its body as far as it was fetched."""

    def __init__(self, app: WSGIApplication, environ: WSGIEnvironment) -> None:
        self.status = 500
        self.headers: Headers = []
        self.export: ExportOrder | None = None  # what is to follow the headers
        self._fetched = bytearray()
        # Flask leaves things in the context that it takes away when the body is at its end.
        self._context = contextvars.copy_context()
        self._context.run(self._call, app, environ)

    def _call(self, app: WSGIApplication, environ: WSGIEnvironment) -> None:
        self._body: Iterable[bytes] = app(environ, self._start_response)
        self._parts: Iterator[bytes] | None = iter(self._body)
        self.export = environ.get(EXPORT)

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], _exc_info: Any = None
    ) -> Callable[[bytes], object]:
        self.status = int(status.split(" ", 1)[0])
        self.headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return self._fetched.extend

    @property
    def is_whole(self) -> bool:
        return self._parts is None

    def fetch(self, size: int) -> bytes:
        """The next `size` bytes or more; all if there are fewer, and then it is whole."""
        self._context.run(self._fetch, size)
        fetched, self._fetched = bytes(self._fetched), bytearray()
        return fetched

    def _fetch(self, size: int) -> None:
        while self._parts is not None and len(self._fetched) < size:
            part = next(self._parts, None)
            if part is None:
                self.close()
            else:
                self._fetched += part

    def close(self) -> None:
        self._parts = None
        if hasattr(self._body, "close"):
            self._body.close()

    def close_early(self) -> None:
        self._context.run(self.close)


class FlaskBridge:
    """Made on the event loop that serves. At most `threads` requests are in the application at once.

    Of `readers` that are woken together, at most a quarter of them: the others wait their turn here, and
    nobody else is refused for them.
    """

    def __init__(
        self,
        app: WSGIApplication,
        threads: int,
        callbacks_wait: Callable[[], bool],
        many_wait: Callable[[], bool],
        readers: WaitingReaders,
    ) -> None:
        self.exports = Exports(many_wait)
        self._app = app
        self._readers = readers
        self._readers_turn = asyncio.Semaphore(max(1, threads // 4))
        self._pace = ReadPace(callbacks_wait, many_wait, threads * WAITING_FOR_EACH)
        self._pool = Pool("flask", threads, threads * WAITING_FOR_EACH)
        self._streams = Pool("stream", STREAM_THREADS, STREAM_THREADS * WAITING_FOR_EACH)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            made, body = await self._respond(scope, receive)
        except ClientLeft:
            return
        except (PoolFull, TooManyWait):
            detail = "Too many requests wait; nothing was done, ask again"
            await answer_problem(scope, send, Problem("busy", detail, headers={"Retry-After": "1"}))
            return
        except Exception as error:  # Flask answers its own; this is a fault around it
            log.error("request failed", exc_info=error, extra=fields(method=scope["method"]))
            await answer_problem(scope, send, Problem("internal-error", "The log has more"))
            return
        if made.export is not None and scope["method"] != "HEAD":
            headers = [(name, value) for name, value in made.headers if name != b"content-length"]
            await self.exports.answer(made.export, headers, scope, receive, send)
        elif made.is_whole:
            await answer(send, made.status, made.headers, body)
        else:
            await self._stream(made, body, receive, send)

    async def _respond(self, scope: Scope, receive: Receive) -> tuple[Answer, bytes]:
        environ = environ_of(scope, await whole_body(receive))
        environ[MAY_WAIT] = scope["method"] in READS
        answered = await self._run(environ, receive)
        if isinstance(answered, Wait):
            del environ  # who waits holds nothing large
            return await self._wait(answered, scope, receive)
        return answered

    async def _wait(self, wait: Wait, scope: Scope, receive: Receive) -> tuple[Answer, bytes]:
        """And look again, until there is an answer."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        scope["state"]["wait"](partial(ended.set_result, None))
        until = time.monotonic() + wait.seconds
        while True:
            woken = await self._readers.wait(wait, until, receive, ended)
            environ = {**environ_of(scope, b""), NOTE: wait.note, WOKEN: woken, MAY_WAIT: woken.may_wait}
            async with self._readers_turn:
                answered = await self._run(environ, receive)
            del environ
            if not isinstance(answered, Wait):
                return answered
            wait = answered

    async def _run(self, environ: WSGIEnvironment, receive: Receive) -> tuple[Answer, bytes] | Wait:
        if environ["REQUEST_METHOD"] not in READS:
            return await self._pool.submit(self._answer, environ)
        environ[DEBT] = self._pace.has_debt
        async with self._pace.turn(receive) as turn:  # no other message comes than that the client left
            environ[TURN] = turn
            return await self._pool.submit(turn.run, self._answer, environ)

    def _answer(self, environ: WSGIEnvironment) -> tuple[Answer, bytes] | Wait:
        made = Answer(self._app, environ)
        body = made.fetch(WHOLE_ANSWER)
        wait: Wait | None = environ.get(WAIT)
        return wait or (made, body)

    async def _stream(self, made: Answer, part: bytes, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(receive())  # its only further message is that the client left
        try:
            await send({"type": "http.response.start", "status": made.status, "headers": made.headers})
            while not made.is_whole and not gone.done():
                await send({"type": "http.response.body", "body": part, "more_body": True})
                part = await self._streams.submit(made.fetch, PART)
            await send({"type": "http.response.body", "body": part})
        finally:
            gone.cancel()
            if not made.is_whole:
                await self._streams.submit(made.close_early)


def environ_of(scope: Scope, body: bytes) -> WSGIEnvironment:
    """PEP 3333's. SCRIPT_NAME is always empty: no header says where we are mounted."""
    server, client = scope.get("server") or ("", 0), scope.get("client") or ("", 0)
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        NOTES: scope["state"],
    }
    for name, value in scope["headers"]:
        if b"_" not in name:  # it would pass for the header with dashes
            _add_header(environ, name.decode("latin-1"), value.decode("latin-1"))
    return environ


def _add_header(environ: WSGIEnvironment, name: str, value: str) -> None:
    key = name.upper().replace("-", "_")
    if key == "CONTENT_TYPE":
        environ[key] = value
    elif key != "CONTENT_LENGTH":
        separator = "; " if key == "COOKIE" else ","
        known = environ.get(f"HTTP_{key}")
        environ[f"HTTP_{key}"] = value if known is None else f"{known}{separator}{value}"
