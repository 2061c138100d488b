"""The smallest thing that gunicorn can serve, to try the test bed on: it answers with its environment."""

import json
import os
import time
from collections.abc import Callable, Iterable
from typing import Any


def web() -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    if complaint := os.environ.get("COMPLAINT"):
        raise RuntimeError(complaint)
    return answer


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/slow":
        time.sleep(1)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(dict(os.environ)).encode()]
