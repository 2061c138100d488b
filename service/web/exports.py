"""Exports are passed on from their process to who asked, as fast as they read, without a thread.

A view leaves what is to be exported in the environment of its request, and answers with the headers alone;
`flask_bridge` brings both here. An export shares neither thread nor database connection with callbacks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from flask import request

from service.exports.frames import FrameKind
from service.exports.order import ExportOrder
from service.log_lines import fields
from service.web.asgi import Headers, Receive, Scope, Send, answer_problem
from service.web.export_process import ExportEnded, ExportProcess
from service.web.problems import Problem
from service.web.thread_pool import Pool

EXPORT: Final = "service.export"  # in the environment: what a view leaves to be exported
MOST_AT_ONCE: Final = 3  # of each web process
RETRY_SECONDS: Final = 10
ROWS_UNTIL_REST: Final = 500  # while many callbacks wait
LONGEST_REST: Final = 3.0  # seconds
MOST_REST: Final = 600.0  # of one export; then it goes on, or beside a flood it would never catch up
LOOK_SECONDS: Final = 0.05
BROKEN_OFF: Final = "the service ended it"
FAILED: Final = "the database did not answer"

log = logging.getLogger(__name__)


def leave(order: ExportOrder) -> None:
    """In a view: what it answers with is the beginning of this export."""
    request.environ[EXPORT] = order


class Exports:
    """Made on the event loop that serves.

    Beside many callbacks it takes what is exported slowly. The exporting process stops when the pipe is full,
    and with it the database's work for it, which may share the callbacks' cores.
    """

    def __init__(self, many_wait: Callable[[], bool]) -> None:
        self._many_wait = many_wait
        self._threads = Pool("export", MOST_AT_ONCE, MOST_AT_ONCE)
        self._running: set[ExportProcess] = set()
        self._count = 0
        self._is_ending = False

    def end(self) -> None:
        """When the process ends. Who reads one gets its last line, which says that it is broken off."""
        self._is_ending = True
        for one in self._running:
            one.kill()

    async def answer(
        self, order: ExportOrder, headers: Headers, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if self._count >= MOST_AT_ONCE:
            detail = f"{MOST_AT_ONCE} exports run already; nothing was done, ask again"
            await _refuse(scope, send, "too-many-exports", detail)
            return
        self._count += 1
        try:
            await self._export(order, headers, scope, receive, send)
        finally:
            self._count -= 1

    async def _export(
        self, order: ExportOrder, headers: Headers, scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            process = await ExportProcess.start(order, self._threads)
        except OSError as error:
            log.error("no process for an export can be started, answered 503", extra=fields(error=error))
            await _refuse(scope, send, "busy", "Nothing was done; ask again")
            return
        self._running.add(process)
        left = asyncio.ensure_future(receive())  # no other message comes than that the client left
        left.add_done_callback(lambda _: process.kill())
        try:
            if self._is_ending:
                process.kill()
            await self._pass_on(process, order, headers, scope, send)
        finally:
            left.cancel()
            self._running.discard(process)
            await process.close()

    async def _pass_on(
        self, process: ExportProcess, order: ExportOrder, headers: Headers, scope: Scope, send: Send
    ) -> None:
        count, has_begun, why = 0, False, BROKEN_OFF
        rest_at, rest_left = ROWS_UNTIL_REST, MOST_REST
        try:
            while True:
                kind, rows, content = await process.frame()
                if kind is FrameKind.FAILED:
                    log.error("export failed", extra=fields(report=order.report_name, error=content.decode()))
                    why = FAILED
                    break
                if not has_begun:
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                    has_begun = True
                count += rows
                is_end = kind is FrameKind.END
                await send({"type": "http.response.body", "body": content, "more_body": not is_end})
                if is_end:
                    return
                if count >= rest_at:
                    rest_left -= await self._rest(min(LONGEST_REST, rest_left), process)
                    rest_at = count + ROWS_UNTIL_REST
        except ExportEnded:
            log.warning("export broken off", extra=fields(report=order.report_name, rows=count))
        if has_begun:
            await send({"type": "http.response.body", "body": order.format.broken_off(count, why)})
        else:
            await _refuse(scope, send, "export-failed", f"Nothing was sent: {why}; ask again")

    async def _rest(self, longest: float, process: ExportProcess) -> float:
        """While many callbacks wait, and the process runs; how many seconds it took."""
        began = time.monotonic()
        while self._many_wait() and process.is_running and time.monotonic() < began + longest:
            await asyncio.sleep(LOOK_SECONDS)
        return time.monotonic() - began


async def _refuse(scope: Scope, send: Send, name: str, detail: str) -> None:
    headers = {"Retry-After": str(RETRY_SECONDS)}
    await answer_problem(scope, send, Problem(name, detail, headers=headers))
