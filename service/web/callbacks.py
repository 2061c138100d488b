"""The callback door's shell: bare WSGI in front of Flask, whose handling of a request is half of its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIEnvironment

from service.web.door import LARGEST_BODY, Door
from service.web.errors import request_id_of

PATH: Final = "/callbacks/siprec"
HEADERS: Final = {
    "HTTP_TELNYX_TIMESTAMP": "telnyx-timestamp",
    "HTTP_TELNYX_SIGNATURE_ED25519": "telnyx-signature-ed25519",
    "HTTP_USER_AGENT": "user-agent",
    "CONTENT_TYPE": "content-type",
}

Wsgi = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


class CallbackShell:
    """Takes what Telnyx calls, with or without a slash at the end: it follows no redirect for sure."""

    def __init__(self, door: Door, inner: Wsgi) -> None:
        self._door = door
        self._inner = inner

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path != PATH and not path.startswith(PATH + "/"):
            return self._inner(environ, start_response)
        token = path[len(PATH) + 1 :].removesuffix("/")
        status = self._status(environ, token or None)
        request_id = request_id_of(environ.get("HTTP_X_REQUEST_ID", ""))
        headers = [("Content-Length", "0"), ("X-Request-Id", request_id), ("Cache-Control", "no-store")]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "GET, HEAD, POST"))
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return []

    def _status(self, environ: WSGIEnvironment, token: str | None) -> int:
        method = environ["REQUEST_METHOD"]
        if method == "HEAD":
            return 200  # records nothing
        if method not in {"GET", "POST"}:
            return 405
        body = _body(environ)
        if body is None:
            return 400  # it broke off; nobody waits for an answer
        return self._door.receive(
            method=method,
            token=token,
            query=environ.get("QUERY_STRING", "").encode("latin-1"),
            headers={name: environ[key] for key, name in HEADERS.items() if key in environ},
            body=body,
        )


def _body(environ: WSGIEnvironment) -> bytes | None:
    """As much as the door needs to see; None if it ended before its Content-Length."""
    told = environ.get("CONTENT_LENGTH") or ""
    length = int(told) if told.isdigit() else None
    if length is not None and length > LARGEST_BODY:
        return b"\0" * (LARGEST_BODY + 1)  # not worth reading
    stream: Any = environ["wsgi.input"]
    try:
        if length is not None:
            body: bytes = stream.read(length)
        else:  # chunked, if the server ends the stream by itself
            body = stream.read(LARGEST_BODY + 1) if environ.get("wsgi.input_terminated") else b""
    except OSError:
        return None
    return None if length is not None and len(body) < length else body
