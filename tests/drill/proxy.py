"""Stands between the service and a PostgreSQL server, and breaks the line when told.

A program of its own, so that it takes no time from whoever sends callbacks. A line on its standard input is a
command, and is echoed when it is done; at the end of its input it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time

PASS, HANG, REFUSE, CUT, DAWDLE = "pass", "hang", "refuse", "cut", "dawdle"
BLIND_SECONDS = (
    0.05  # before a cut: the server still hears, and is not heard, so that COMMITs get lost halfway
)
COMMIT = b"COMMIT"  # seen unless the line is encrypted
DAWDLE_SECONDS = 2.5  # longer than the service waits; then it arrives though nobody waits for it
STRAGGLE_SECONDS = 0.8  # at most
CHUNK_BYTES = 65536

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """`target`: the path of a unix socket, or (host, port)."""

    def __init__(self, target: str | tuple[str, int], port: int) -> None:
        self._target = target
        self._port = port
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._dawdles = False
        self._passed_at = 0.0
        self._hearing = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    async def obey(self, command: str) -> None:
        if command == HANG:
            self._flowing.clear()
            return
        self._dawdles = command == DAWDLE
        self._passed_at = time.monotonic()
        self._flowing.set()
        if command == REFUSE and self._server is not None:
            self._server.close()
            self._server = None
        if command in {CUT, REFUSE}:
            await self._cut()
        self._hearing.set()
        if command == PASS and self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def _cut(self) -> None:
        self._hearing.clear()
        await asyncio.sleep(BLIND_SECONDS)
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            await self._flowing.wait()
            there, back = await self._upstream()
            self._writers.add(back)
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer, self._hearing))
            self._writers.discard(back)
        self._writers.discard(writer)
        writer.transport.abort()

    async def _upstream(self) -> Streams:
        if isinstance(self._target, str):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection(*self._target)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, open_: asyncio.Event | None = None
    ) -> None:
        since = time.monotonic()
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                await self._flow(since)
                if self._dawdles and COMMIT in chunk:
                    await asyncio.sleep(DAWDLE_SECONDS)
                if open_ is not None:
                    await open_.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def _flow(self, since: float) -> None:
        """Wait while it hangs; what was old by then goes on later than what is new, as TCP would have it."""
        if not self._flowing.is_set():
            await self._flowing.wait()
            if since < self._passed_at:
                await asyncio.sleep(since % STRAGGLE_SECONDS)


async def run(target: str | tuple[str, int]) -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
    proxy = Proxy(target, port)
    await proxy.obey(PASS)
    print(port, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await proxy.obey(line.strip())
        print(line.strip(), flush=True)


if __name__ == "__main__":
    host, _, number = sys.argv[1].rpartition(" ")
    asyncio.run(run((host, int(number)) if host else sys.argv[1]))
