"""Threads for what may wait, so that the event loop never does."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class PoolFull(Exception):
    """All threads are busy, and as many jobs wait for one as may."""


class _Job(Generic[T]):
    def __init__(self, do: Callable[..., T], arguments: tuple[Any, ...], done: asyncio.Future[T]) -> None:
        self.do = do
        self.arguments = arguments
        self.done = done


class Pool:
    """Used from one event loop, in whose process it was made.

    The threads are daemons, unlike an executor's: one that hangs must not keep the process from ending.
    """

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._jobs: queue.SimpleQueue[_Job[Any]] = queue.SimpleQueue()
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
        self._jobs.put(_Job(do, arguments, done))
        return done

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            result, error = None, None
            try:
                result = job.do(*job.arguments)
            except BaseException as raised:  # whatever it is, it belongs to who waits
                error = raised
            try:
                self._loop.call_soon_threadsafe(self._finish, job, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            del job, result, error  # or an idle thread would hold on to a whole request

    def _finish(self, job: _Job[Any], result: Any, error: BaseException | None) -> None:
        self._unfinished -= 1
        if job.done.done():  # who waited has been cancelled
            return
        if error is None:
            job.done.set_result(result)
        elif isinstance(error, Exception):
            job.done.set_exception(error)
        else:  # a future takes no StopIteration, and the loop must not end by SystemExit
            job.done.set_exception(RuntimeError(f"a thread met {error!r}"))
