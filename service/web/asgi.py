"""What the parts on the event loop share: ASGI's types, and answers made in one piece."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final

from service.web.problems import Problem
from service.web.request_id import request_id_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

WITHOUT_LENGTH: Final = {204, 304}

# What every answer of the API has; Flask's have the same.
COMMON: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def header(scope: Scope, name: bytes) -> str:
    """The first with this lower-case name; empty if there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""


async def whole_body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def answer(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes = b"") -> None:
    """With Content-Length, unless `headers` have it: of a HEAD's answer it is not the body's."""
    fields = list(headers)
    if status not in WITHOUT_LENGTH and all(name != b"content-length" for name, _ in fields):
        fields.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def answer_json(scope: Scope, send: Send, status: int, value: Mapping[str, Any]) -> None:
    headers = encoded({**COMMON, "Content-Type": "application/json"}, scope)
    await answer(send, status, headers, json.dumps(value).encode())


async def answer_problem(scope: Scope, send: Send, problem: Problem) -> None:
    fields = {**COMMON, **problem.headers, "Content-Type": "application/problem+json"}
    headers = encoded(fields, scope)
    document = problem.document(headers[0][1].decode())
    await answer(send, problem.status, headers, json.dumps(document).encode())


def encoded(headers: Mapping[str, str], scope: Scope) -> Headers:
    """With X-Request-Id in front."""
    fields = {"X-Request-Id": request_id_of(header(scope, b"x-request-id")), **headers}
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in fields.items()]
