"""Stands between the service and a PostgreSQL server; breaks the line, or leads elsewhere, when told.

A program of its own, so that it takes no time from whoever sends callbacks; tests.bed.address starts it.
A line on its standard input is a command, and is echoed when it is done; at the end of its input it ends.
"""

import asyncio
import contextlib
import sys
import time

PASS, HANG, REFUSE, CUT, DELAY, TO = "pass", "hang", "refuse", "cut", "delay", "to"
# Before a cut: the server still hears, and is not heard, so that COMMITs get lost halfway.
BLIND_SECONDS = 0.05
COMMIT = b"COMMIT"  # seen unless the line is encrypted
DELAY_SECONDS = 2.5  # longer than the service waits; then it arrives though nobody waits for it
STRAGGLE_SECONDS = 0.8  # at most
CHUNK_BYTES = 65536


class Proxy:
    """`target` is the path of a unix socket, or host:port; new connections lead there, old ones stay."""

    def __init__(self, target: str, port: int) -> None:
        self._target = target
        self._port = port
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._delays = False
        self._passed_at = 0.0
        self._hearing = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    async def obey(self, command: str) -> None:
        name, _, target = command.partition(" ")
        if name == TO:
            self._target = target
        elif name == HANG:
            self._flowing.clear()
        else:
            await self._flow_as(name)

    async def _flow_as(self, name: str) -> None:
        self._delays = name == DELAY
        self._passed_at = time.monotonic()
        self._flowing.set()
        if name == REFUSE and self._server is not None:
            self._server.close()
            self._server = None
        if name in {CUT, REFUSE}:
            await self._cut()
        self._hearing.set()
        if name == PASS and self._server is None:
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

    async def _upstream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.startswith("/"):
            return await asyncio.open_unix_connection(self._target)
        host, _, port = self._target.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, open_: asyncio.Event | None = None
    ) -> None:
        since = time.monotonic()
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                await self._flow(since)
                if self._delays and COMMIT in chunk:
                    await asyncio.sleep(DELAY_SECONDS)
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


async def run(target: str, port: int) -> None:
    proxy = Proxy(target, port)
    await proxy.obey(PASS)
    print(PASS, flush=True)  # tests.bed.address waits for it
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await proxy.obey(line.strip())
        print(line.strip(), flush=True)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2])))
