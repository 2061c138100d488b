"""Somebody who exports all sessions again and again, and somebody who asks for the last 30 days by day."""

from __future__ import annotations

import http.client
import os
import sys
import threading
import time
from contextlib import closing
from datetime import timedelta
from typing import Final

from tests.bench.data import OLDEST, SPAN
from tests.bench.followers import KEY

EXPORT: Final = "/v1/reports/sessions?format=csv"
DAYS: Final = f"/v1/reports/daily?since={(OLDEST + SPAN - timedelta(days=30)).date()}"
PIECE: Final = 64 * 1024
TIMEOUT_SECONDS: Final = 60
BUSY: Final = 503
BUSY_SECONDS: Final = 0.1

counted = {EXPORT: 0, DAYS: 0}  # lines
failed: list[str] = []


def ask(port: int, path: str) -> None:
    """For ever."""
    headers = {"Authorization": f"Bearer {os.environ[KEY]}"}
    while True:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            if answer.status == BUSY:
                time.sleep(BUSY_SECONDS)
            elif answer.status != http.HTTPStatus.OK:
                failed.append(f"{path}: {answer.status} {answer.read(500)!r}")
                return
            while piece := answer.read1(PIECE):
                counted[path] += piece.count(b"\n") if path == EXPORT else 0
            counted[path] += path != EXPORT


def main(port: int) -> None:
    """Until standard input ends."""
    for path in counted:
        threading.Thread(target=ask, args=(port, path), daemon=True).start()
    while not counted[EXPORT] and not failed:
        time.sleep(0.01)
    print("ready", flush=True)
    before = counted[EXPORT]
    sys.stdin.read()
    if failed:
        raise SystemExit(failed[0])
    print(counted[EXPORT] - before, counted[DAYS], flush=True)
    os._exit(0)  # they ask on


if __name__ == "__main__":
    main(int(sys.argv[1]))
