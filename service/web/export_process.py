"""A process that exports, as the event loop sees it: frames that come when there is room for them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from typing import Final

from service.exports.frames import HEAD, FrameKind, read_head
from service.exports.order import ExportOrder
from service.web.thread_pool import Pool

COMMAND: Final = (sys.executable, "-P", "-m", "service.exports")
NOT_ITS: Final = "PROMETHEUS_MULTIPROC_DIR"  # it would make files of its own there
READ_AHEAD: Final = 256 * 1024  # bytes


class ExportEnded(Exception):
    """Before its end was said: it was killed, or has failed."""


class ExportProcess:
    """Made by `start`, on the event loop. Starting and reaping, which may block, is done in threads."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        frames: asyncio.StreamReader,
        transport: asyncio.BaseTransport,
        threads: Pool,
    ) -> None:
        self._process = process
        self._frames = frames
        self._transport = transport
        self._threads = threads

    @classmethod
    async def start(cls, order: ExportOrder, threads: Pool) -> ExportProcess:
        """Raises OSError where no process can be started, and PoolFull."""
        process = await threads.submit(_spawn, order.line())
        frames = asyncio.StreamReader(READ_AHEAD)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(frames), process.stdout
        )
        return cls(process, frames, transport, threads)

    async def frame(self) -> tuple[FrameKind, int, bytes]:
        """The next one: its kind, how many rows, its content. Raises ExportEnded."""
        try:
            kind, rows, size = read_head(await self._frames.readexactly(HEAD.size))
            return kind, rows, await self._frames.readexactly(size)
        except asyncio.IncompleteReadError as error:
            raise ExportEnded from error

    @property
    def is_running(self) -> bool:
        """Once it is not, all that it has written can still be read."""
        return self._process.poll() is None

    def kill(self) -> None:
        """What it has written so far can still be read."""
        if self.is_running:
            self._process.kill()

    async def close(self) -> None:
        """It is gone then, whatever it was at."""
        self._transport.close()
        self.kill()
        await self._threads.submit(_reap, self._process)


def _spawn(line: bytes) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != NOT_ITS}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(  # noqa: S603 (the command is ours)
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.flush()  # and left open: it ends when that is closed
    return process


def _reap(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    process.wait()
