"""A small HTTP/1.1 client: enough to ask the service and the sandbox, nothing between us and the bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Answer:
    """`seconds`: from the last byte sent to the last byte read."""

    status: int
    body: bytes
    seconds: float


class NoAnswer(Exception):
    """Whether the request was received and what became of it, nobody knows; `is_late`: we gave up."""

    def __init__(self, trouble: Exception) -> None:
        super().__init__(f"{type(trouble).__name__}: {trouble}")
        self.is_late = isinstance(trouble, TimeoutError)


class Line:
    """A connection to a port of this machine, made when it is needed, and kept open as long as it lasts."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes, patience_seconds: float) -> Answer:
        """Raises NoAnswer."""
        try:
            async with asyncio.timeout(patience_seconds):
                reader, writer = await self.open()
                writer.write(request)
                await writer.drain()
                return await self.read(reader)
        except (OSError, EOFError, ValueError) as trouble:
            self.close()
            raise NoAnswer(trouble) from trouble
        except asyncio.CancelledError:
            self.close()
            raise

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        return self._streams

    async def read(self, reader: asyncio.StreamReader) -> Answer:
        sent_at = time.monotonic()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1])
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        if fields.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, body, time.monotonic() - sent_at)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def ask_once(port: int, request: bytes, patience_seconds: float) -> Answer:
    """Over a connection of its own. Raises NoAnswer."""
    line = Line(port)
    try:
        return await line.ask(request, patience_seconds)
    finally:
        line.close()


def compose(method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A request as it goes over the wire; `target` is path and query."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method in {"POST", "PUT"}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
