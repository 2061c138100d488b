"""Threads for what may wait, so that the event loop never does."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Job = tuple[Callable[..., Any], tuple[Any, ...], asyncio.Future[Any]]  # what to call, and what waits for it


class PoolFull(Exception):
    """All threads are busy, and as many jobs wait for one as may."""


class Pool:
    """Used from one event loop, in whose process it was made.

    The threads are daemons, unlike an executor's: one that hangs must not keep the process from ending.
    """

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._most = threads + waiting
        self._unfinished = 0
        self._loop = asyncio.get_running_loop()
        for number in range(threads):
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True).start()

    def submit(self, do: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Call it in a thread. The future has what it returns or raises. Raises PoolFull."""
        if self._unfinished >= self._most:
            raise PoolFull
        self._unfinished += 1
        done: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((do, arguments, done))
        return done

    def _run(self) -> None:
        while True:
            do, arguments, done = self._jobs.get()
            result, error = None, None
            try:
                result = do(*arguments)
            except BaseException as raised:  # whatever it is, it belongs to who waits
                error = raised
            try:
                self._loop.call_soon_threadsafe(self._finish, done, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            del do, arguments, done, result, error  # or an idle thread would hold on to a whole request

    def _finish(self, done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._unfinished -= 1
        if done.done():  # who waited has been cancelled
            return
        if error is None:
            done.set_result(result)
        elif isinstance(error, Exception):
            done.set_exception(error)
        else:  # a future takes no StopIteration, and the loop must not end by SystemExit
            done.set_exception(RuntimeError(f"a thread met {error!r}"))
