"""The canary's endpoint: takes a marked callback of our own, keeps nothing of it, and says how it fared."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from service.canary import mark
from service.canary.mark import PATH, CanaryKeys, ForgedCanary, Token, UnknownCanary, Wish
from service.ledger.canary import Durability
from service.web.asgi import Headers, Receive, Scope, Send, answer, header, whole_body
from service.web.pace import RejectionPace
from service.web.request_id import request_id_of
from service.web.thread_pool import Pool, PoolFull

WAITING: Final = 8  # canaries, for the one thread
PART_SECONDS: Final = 1.5  # between the two parts of an answer
MOST_TAKEN: Final = 1000  # tokens that are remembered


class Refused(Exception):
    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class CanaryEndpoint:
    """Made on the event loop that serves. One thread of its own; callbacks share only the loop with it.

    Each token is taken once by each process. `try_durability` may block.
    """

    def __init__(
        self,
        keys: CanaryKeys,
        try_durability: Callable[[], Durability],
        clock: Callable[[], datetime],
        rejections: RejectionPace,
    ) -> None:
        self._keys = keys
        self._try_durability = try_durability
        self._clock = clock
        self._thread = Pool("canary", 1, WAITING)
        self._rejections = rejections  # shared with callbacks: two ways are no faster than one
        self._taken: dict[str, float] = {}  # id -> when its token ends, Unix seconds
        self._ending = asyncio.Event()

    def end(self) -> None:
        """The process ends: nobody waits any longer."""
        self._ending.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = request_id_of(header(scope, b"x-request-id")).encode()
        headers: Headers = [(b"x-request-id", request_id), (b"cache-control", b"no-store")]
        try:
            wish, document = await self._take(scope, receive)
        except Refused as refused:
            await self._refuse(scope, send, refused.status, headers)
            return
        if wish.delay or wish.in_parts:
            scope["state"]["postpone"]()
        await self._pause(wish.delay.total_seconds())
        body = json.dumps(document).encode()
        headers.append((b"content-type", b"application/json"))
        if not wish.in_parts:
            await answer(send, HTTPStatus.OK, headers, body)
            return
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
        await send({"type": "http.response.body", "body": b" ", "more_body": True})  # JSON may begin so
        await self._pause(PART_SECONDS)
        await send({"type": "http.response.body", "body": body})

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)

    async def _take(self, scope: Scope, receive: Receive) -> tuple[Wish, Mapping[str, Any]]:
        """Raises Refused."""
        if scope["method"] != "POST":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED)
        if refused := scope["state"].get("refused"):
            raise Refused(HTTPStatus(refused))
        began = time.monotonic()
        token = self._token(scope["path"][len(PATH) + 1 :].removesuffix("/"))
        body = await whole_body(receive)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        await asyncio.sleep(0)
        turned = time.monotonic()
        try:
            judging = self._thread.submit(_timed, mark.read, token, headers, body)
            wish, judged_seconds = await judging
            durability = await self._thread.submit(self._try_durability)
        except ForgedCanary:
            raise Refused(HTTPStatus.FORBIDDEN) from None
        except PoolFull:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE) from None
        steps = {
            "loop": {"seconds": turned - began},
            "signature": {"seconds": judged_seconds},
            "database": {"seconds": durability.database.seconds, "why": durability.database.why},
            "spool": {"seconds": durability.spool.seconds, "why": durability.spool.why},
        }
        return wish, {"canary": token.id, "host": socket.gethostname(), "bytes": len(body), "steps": steps}

    def _token(self, text: str) -> Token:
        """Raises Refused for one that is not ours, and for one that came before."""
        now = self._clock()
        try:
            token = self._keys.token(text, now)
        except UnknownCanary:
            raise Refused(HTTPStatus.NOT_FOUND) from None
        self._taken = {id: ends for id, ends in self._taken.items() if ends >= now.timestamp()}
        if token.id in self._taken or len(self._taken) >= MOST_TAKEN:
            raise Refused(HTTPStatus.NOT_FOUND)
        self._taken[token.id] = token.expires_at
        return token

    async def _refuse(self, scope: Scope, send: Send, status: HTTPStatus, headers: Headers) -> None:
        """Not faster than rejected callbacks are."""
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append((b"allow", b"POST"))
        if delay := self._rejections.delay():
            scope["state"]["postpone"]()
            await asyncio.sleep(delay)
            headers.append((b"connection", b"close"))
        await answer(send, status, headers)


def _timed(do: Callable[..., Wish], *arguments: Any) -> tuple[Wish, float]:
    began = time.monotonic()
    wish = do(*arguments)
    return wish, time.monotonic() - began
