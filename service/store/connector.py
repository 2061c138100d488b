"""Makes connections within a deadline that neither a resolver of names nor a driver keeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from service.store.pool import remaining


class ConnectTimeout(Exception):
    """No connection was made by the deadline, in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no connection was made in {seconds:.1f} s")
        self.seconds = seconds


class Connector:
    """Call it for a connection. Raises ConnectTimeout, or what `connect` raises.

    Where this thread has a deadline, another thread connects. What comes too late is for whoever asks next,
    or else a slow way to the database would never lead there.
    """

    def __init__(self, connect: Callable[[], Any], is_fit: Callable[[Any], bool]) -> None:
        self._connect = connect
        self._is_fit = is_fit
        self._late: Future[Any] | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Any:
        if remaining(-1) < 0:
            return self._connect()
        late = self._take_late()
        if late is not None and self._is_fit(connection := self._wait(late)):
            return connection
        _close(late)
        return self._wait(self._begin())

    def _wait(self, attempt: Future[Any]) -> Any:
        began = time.monotonic()
        try:
            return attempt.result(remaining(0))
        except TimeoutError:
            if attempt.done():  # it is the connecting itself that raised
                raise
            self._put_late(attempt)
            raise ConnectTimeout(time.monotonic() - began) from None

    def _begin(self) -> Future[Any]:
        attempt: Future[Any] = Future()
        threading.Thread(target=self._run, args=(attempt,), name="connect", daemon=True).start()
        return attempt

    def _run(self, attempt: Future[Any]) -> None:
        try:
            attempt.set_result(self._connect())
        except BaseException as error:  # it is raised where somebody waits
            attempt.set_exception(error)

    def _take_late(self) -> Future[Any] | None:
        with self._lock:
            late, self._late = self._late, None
        has_failed = late is not None and late.done() and late.exception() is not None
        return None if has_failed else late

    def _put_late(self, attempt: Future[Any]) -> None:
        with self._lock:
            earlier, self._late = self._late, attempt
        if earlier is not None:
            earlier.add_done_callback(_close)


def _close(attempt: Future[Any] | None) -> None:
    if attempt is None:
        return
    with suppress(Exception):
        attempt.result().close()
