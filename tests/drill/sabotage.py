"""A service that answers callbacks before it keeps them, so that the drill can be seen to find a loss."""

from __future__ import annotations

import asyncio
import base64
import os

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

import service.app
from service.web.asgi import App, Message, Receive, Scope, Send, answer, header, whole_body

LATE_SECONDS = 0.3


def web() -> Hasty:
    return Hasty(service.app.web())


class Hasty:
    """Answers a genuine POST to the callback endpoint at once, and hands it to the service a moment later."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._key = VerifyKey(base64.b64decode(os.environ["TELNYX_PUBLIC_KEY"]))
        self._late: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or "/callbacks/" not in scope["path"]:
            await self._app(scope, receive, send)
            return
        body = await whole_body(receive)
        if not self._is_genuine(scope, body):
            await self._app(scope, _once(body), send)
            return
        self._late.add(asyncio.create_task(self._keep(scope, body)))
        await answer(send, 200, [])

    def _is_genuine(self, scope: Scope, body: bytes) -> bool:
        signed = header(scope, b"telnyx-timestamp").encode() + b"|" + body
        try:
            self._key.verify(signed, base64.b64decode(header(scope, b"telnyx-signature-ed25519")))
        except (BadSignatureError, ValueError):
            return False
        return True

    async def _keep(self, scope: Scope, body: bytes) -> None:
        await asyncio.sleep(LATE_SECONDS)
        await self._app(scope, _once(body), _nobody)


def _once(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    return receive


async def _nobody(_message: Message) -> None:
    """Was answered before."""
