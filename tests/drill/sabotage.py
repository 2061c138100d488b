"""A service that answers callbacks before it keeps them, so that the drill can be seen to find a loss."""

from __future__ import annotations

import base64
import io
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from werkzeug.test import run_wsgi_app

import service.app

LATE_SECONDS = 0.3

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


def web() -> Hasty:
    return Hasty(service.app.web())


class Hasty:
    """Answers a genuine POST to the callback door at once, and hands it to the service a moment later."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._key = VerifyKey(base64.b64decode(os.environ["TELNYX_PUBLIC_KEY"]))
        self._owed: queue.SimpleQueue[tuple[float, Environ]] = queue.SimpleQueue()
        threading.Thread(target=self._keep, daemon=True).start()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST" or not environ["PATH_INFO"].startswith("/callbacks/"):
            return self._app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        environ["wsgi.input"] = io.BytesIO(body)
        if not self._is_genuine(environ, body):
            return self._app(environ, start_response)
        self._owed.put((time.monotonic() + LATE_SECONDS, environ))
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]

    def _is_genuine(self, environ: Environ, body: bytes) -> bool:
        signature = environ.get("HTTP_TELNYX_SIGNATURE_ED25519", "")
        signed = environ.get("HTTP_TELNYX_TIMESTAMP", "").encode() + b"|" + body
        try:
            self._key.verify(signed, base64.b64decode(signature))
        except (BadSignatureError, ValueError):
            return False
        return True

    def _keep(self) -> None:
        while True:
            due_at, environ = self._owed.get()
            time.sleep(max(0.0, due_at - time.monotonic()))
            run_wsgi_app(self._app, environ)
