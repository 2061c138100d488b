"""One line for each request that was whole: when, who, what, how it ended and how long it took."""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import Final

from flask import Flask, Response, g, request

from service.log_lines import CALLBACKS, LOG_IN, json_line, one_line
from service.logs import WRITER
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
            make = json if WRITER.is_json else line
            WRITER.write(make(scope, start, time.monotonic() - begun))


def json(scope: Scope, start: Message, seconds: float) -> str:
    return json_line(
        time.time(),
        "INFO",
        __name__,
        "request",
        client=scope["client"][0] if scope["client"] else None,
        method=scope["method"],
        path=one_line(_hidden(scope["path"])),
        status=start["status"],
        seconds=round(seconds, 3),
        request_id=_request_id(start),
        key=one_line(scope["state"].get(KEY) or "") or None,
    )


def line(scope: Scope, start: Message, seconds: float) -> str:
    now = _written(int(time.time()))
    client = scope["client"][0] if scope["client"] else "-"
    request_id = _request_id(start) or "-"
    key = scope["state"].get(KEY)
    request_line = f'"{scope["method"]} {shown(scope["path"])}"'
    text = f"{now} {client} {request_line} {start['status']} {seconds:.3f}s id={request_id}"
    return text if key is None else f'{text} key="{_escaped(key)}"'


@lru_cache(maxsize=1)
def _written(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(second))


def shown(path: str) -> str:
    """Without what could forge a line or end the quotation, and without the secret of a URL that has one."""
    return _escaped(_hidden(path))


def _hidden(path: str) -> str:
    for place in (CALLBACKS, LOG_IN):
        before, _, secret = path.partition(place)
        if secret:
            return f"{before}{place}/***"
    return path


def _request_id(start: Message) -> str | None:
    return next(
        (value.decode("latin-1") for name, value in start["headers"] if name == b"x-request-id"), None
    )


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
