"""One connection: when its requests are worked on, and how it ends.

uvicorn starts the application with a request's headers, reads as long as it likes, and waits as long as it
takes. Here the application is started when the whole request is there, so a client that sends slowly,
partly or nothing costs a socket; what it sends is limited in size by `reader`, in time by `traffic`.
What the application has to refuse is in `scope["state"]["refused"]`: a status, 413 or 503.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.server import ServerState

from service.web.request_reader import MOST_DISCARDED, RequestReader, Stage

LINGER_SECONDS: Final = 2.0  # for a client to read why it is hung up on


class Connection(RequestReader):
    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._running: RequestResponseCycle | None = None  # the application works on it
        # Its turn has come, its body has not.
        self._incomplete: tuple[RequestResponseCycle, ASGI3Application] | None = None
        self._rests = False  # answered and kept alive
        self._keeps_alive = True  # after a request that was refused
        self._has_ended = False  # its client sends no more
        self._when_ended: Callable[[], None] | None = None
        self._lingering: asyncio.TimerHandle | None = None  # hung up on, until then
        self._discarded = 0  # bytes, since then

    # What the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._traffic.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._discarded += len(data)
            if self._discarded > MOST_DISCARDED:
                self.transport.close()
            return
        if self._rests:
            self._rests = False
            self._traffic.received(self)
        super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client may say that it sends no more, and still read."""
        self._has_ended = True
        self._close_after_last()
        if self._when_ended:
            self._when_ended()
        return self._running is not None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._traffic.is_stuck(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._traffic.reads(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._lingering:
            self._lingering.cancel()
        if self._running:
            self._running.disconnected = True
            self._running.message_event.set()
        self._is_over, self._rest = True, b""
        self._release_incomplete()
        while self.pipeline:
            self._traffic.release(len(self.pipeline.pop()[0].body))
        self._traffic.closed(self)

    # What the server and the traffic call

    def shutdown(self) -> None:
        """Whoever has an answer coming gets it; `traffic` gives the others a second."""
        self._traffic.end()
        self._close_after_last()

    def time_out(self) -> None:
        if self._running or self._stage is not Stage.NOTHING:
            self.hang_up(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def abort(self) -> None:
        self._is_over = True
        self._release_incomplete()
        self.transport.abort()

    def held(self) -> int:
        return len(self._incomplete[0].body) if self._incomplete else 0

    # What the reader calls

    def admit(self) -> None:
        if self._traffic.is_ending:
            self.cycle.keep_alive = False
        if self._incomplete:
            self._let_continue(self.cycle)

    def refuse(self, status: HTTPStatus) -> None:
        cycle = self.cycle
        self._traffic.release(len(cycle.body))
        cycle.body = bytearray()
        cycle.more_body = False
        cycle.message_event.set()
        self.scope["state"]["refused"] = status
        # Who still sends loses the answer if we close, so the rest is read first; see `_rest_or_close`.
        # Who waits to be told to go on does not send it.
        self._keeps_alive = cycle.keep_alive
        cycle.keep_alive = not cycle.waiting_for_100_continue
        cycle.waiting_for_100_continue = False
        self._start_incomplete()

    def complete(self) -> None:
        self._start_incomplete()
        if self._is_refused and self.cycle.response_complete:
            self._rest_or_close()

    def hang_up(self, status: HTTPStatus) -> None:
        """Earlier requests are answered, then the connection is closed."""
        self._is_over = True
        self._release_incomplete()
        if self._running:
            self._close_after_last()
            self.flow.pause_reading()
            return
        if self._is_refused:  # and has been told so for as long as it was read
            self.transport.close()
            return
        self.transport.write(STATUS_LINE[status] + b"connection: close\r\ncontent-length: 0\r\n\r\n")
        self._linger()

    def _linger(self) -> None:
        """Discard what comes until the client has read the answer and closes, within limits.

        The system resets a connection that is closed before all was read, and with it goes the answer. See
        https://www.rfc-editor.org/rfc/rfc9112#section-9.6.
        """
        if self._has_ended or self._traffic.is_ending or self.transport.is_closing():
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self._traffic.postpones(self)
        self._lingering = self.loop.call_later(LINGER_SECONDS, self.transport.close)

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

        def release() -> None:
            nonlocal size
            self._traffic.release(size)
            size = 0

        def postpone() -> None:
            """For who keeps nothing of the request, and answers it later on purpose."""
            release()
            self._traffic.postpones(self)

        def wait(when_ended: Callable[[], None]) -> None:
            """For who keeps nothing of the request, and waits until there is an answer.

            A client that sends no more may have left: that is not known before it is answered.
            """
            release()
            self._when_ended = when_ended
            if self._has_ended:
                when_ended()

        async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            scope["state"]["wait"] = wait
            scope["state"]["postpone"] = postpone
            try:
                await app(scope, receive, send)
            finally:
                self._when_ended = None
                # not before: a client that leaves does not make a body smaller that is worked on
                release()

        super()._start_asgi_task(cycle, run)

    def _start_incomplete(self) -> None:
        if self._incomplete:
            cycle, app = self._incomplete
            self._incomplete = None
            self._start_asgi_task(cycle, app)

    def _let_continue(self, cycle: RequestResponseCycle) -> None:
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

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

    def _close_after_last(self) -> None:
        """After the answer to the latest of those requests that will be answered."""
        last = self.pipeline[0][0] if self.pipeline else self._running
        if last:
            last.keep_alive = False

    def _release_incomplete(self) -> None:
        """What was received of a request that will never be whole."""
        if self._incomplete:
            self._traffic.release(self.held())
            self._incomplete = None
        elif self.pipeline and self.pipeline[0][0].more_body:
            self._traffic.release(len(self.pipeline.popleft()[0].body))
