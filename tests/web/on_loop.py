"""An ASGI application for test clients that speak WSGI, with an event loop of its own and no socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote
from wsgiref.types import StartResponse, WSGIEnvironment

from service.web.asgi import App, Message
from service.web.request_reader import largest_body

SECONDS = 60


class OnLoop:
    """`app` is set once it is made, on the loop, by `call`."""

    app: App

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start, answer = self._run(self._ask(_scope(environ, body), body))
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
        start_response(f"{start['status']} -", headers)
        return [answer]

    async def _ask(self, scope: dict[str, Any], body: bytes) -> tuple[Message, bytes]:
        sent: list[Message] = []
        asked = [{"type": "http.request", "body": body}]

        async def receive() -> Message:
            return asked.pop() if asked else await asyncio.Future()

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return sent[0], b"".join(message.get("body", b"") for message in sent[1:])

    def call(self, do: Callable[[], Any]) -> Any:
        """On the loop; if it returns a future, that one's result."""

        async def called() -> Any:
            made = do()
            return await made if isinstance(made, asyncio.Future) else made

        return self._run(called())

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(SECONDS)


def _scope(environ: WSGIEnvironment, body: bytes) -> dict[str, Any]:
    raw = environ.get("PATH_INFO", "").encode("latin-1")
    path = unquote(quote(raw))
    headers = [
        (name[5:].replace("_", "-").lower().encode(), value.encode("latin-1"))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    if environ.get("CONTENT_TYPE"):
        headers.append((b"content-type", environ["CONTENT_TYPE"].encode("latin-1")))
    return {
        "type": "http",
        "http_version": "1.1",
        "method": environ["REQUEST_METHOD"],
        "scheme": "http",
        "path": path,
        "raw_path": quote(raw).encode(),
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {
            "postpone": lambda: None,
            "release": lambda: None,
            "refused": 413 if len(body) > largest_body(path) else None,
        },
    }
