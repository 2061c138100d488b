"""One line for each request that was whole: when, who, what, how it ended and how long it took."""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import Final

from flask import Flask, Response, g, request

from service.logs import CALLBACKS, LOG_IN, WRITER, one_line
from service.web.asgi import App, Message, Receive, Scope, Send
from service.web.flask_bridge import NOTES

log = logging.getLogger(__name__)  # only for whether it is disabled

KEY: Final = "key"  # among the notes: the name of the API key


class AccessLog:
    """Around everything that answers."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.monotonic()
        start: Message = {"status": 0, "headers": ()}

        async def note(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            WRITER.write(line(scope, start, time.monotonic() - begun))


def line(scope: Scope, start: Message, seconds: float) -> str:
    now = _written(int(time.time()))
    client = scope["client"][0] if scope["client"] else "-"
    request_id = next(
        (value.decode("latin-1") for name, value in start["headers"] if name == b"x-request-id"), "-"
    )
    key = scope["state"].get(KEY)
    request_line = f'"{scope["method"]} {shown(scope["path"])}"'
    text = f"{now} {client} {request_line} {start['status']} {seconds:.3f}s id={request_id}"
    return text if key is None else f'{text} key="{_escaped(key)}"'


@lru_cache(maxsize=1)
def _written(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(second))


def shown(path: str) -> str:
    """Without what could forge a line or end the quotation, and without the secret of a URL that has one."""
    for place in (CALLBACKS, LOG_IN):
        before, _, secret = path.partition(place)
        if secret:
            return _escaped(f"{before}{place}/***")
    return _escaped(path)


@lru_cache(maxsize=256)
def _escaped(text: str) -> str:
    if text.isascii() and text.isprintable() and not {'"', "\\"} & set(text):
        return text
    return one_line(text.replace("\\", "\\\\").replace('"', '\\"'))


def install(app: Flask) -> None:
    """Flask tells whose key it was."""

    @app.after_request
    def note(response: Response) -> Response:
        notes = request.environ.get(NOTES)
        if notes is not None and "api_key" in g:
            notes[KEY] = g.api_key.name
        return response
