"""Apps by the thousand that wait for a session each, and ask again when they were answered too early."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Address = tuple[str, int]
RETRY_SECONDS = 0.2
AT_ONCE = 20  # begin


class Readers:
    """Each waits for the state `wanted` of one of the sessions, until it has it."""

    def __init__(self, address: Address, key: str, session_ids: Sequence[str], wanted: str) -> None:
        self.asked = 0  # readers that were answered, or whose request is on its way
        self.answered: list[
            tuple[float, str]
        ] = []  # when each was satisfied (monotonic), and with which state
        self.refused = 0
        self._address, self._key, self._ids, self._wanted = address, key, session_ids, wanted

    async def run(self) -> None:
        beginning = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._follow(session_id, beginning) for session_id in self._ids))

    async def _follow(self, session_id: str, beginning: asyncio.Semaphore) -> None:
        path = f"/v1/sessions/{session_id}?wait={self._wanted}"
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._key}\r\n\r\n"
        async with beginning:
            reader, writer = await asyncio.open_connection(*self._address)
            writer.write(head.encode())
            await asyncio.sleep(0.1)  # as much as is worked on at once must not be refused
            self.asked += 1
        while True:
            status, shown = await _answer(reader)
            if status == 503:
                self.refused += 1
                await asyncio.sleep(RETRY_SECONDS)
            elif status != 200 or shown["state"] == self._wanted:
                break
            writer.write(head.encode())
        self.answered.append((time.monotonic(), shown["state"] if status == 200 else str(status)))
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    status = int((await reader.readline()).split()[1])
    length = 0
    while (line := await reader.readline()).strip():
        name, _, value = line.decode().partition(":")
        if name.lower() == "content-length":
            length = int(value)
    return status, json.loads(await reader.readexactly(length))


@contextmanager
def reading(address: Address, key: str, session_ids: Sequence[str], wanted: str) -> Iterator[Readers]:
    """In a thread of their own; at the end of the block, until all are satisfied."""
    readers = Readers(address, key, session_ids, wanted)
    thread = threading.Thread(target=lambda: asyncio.run(readers.run()), daemon=True)
    thread.start()
    yield readers
    thread.join(60)
    assert not thread.is_alive(), f"{len(readers.answered)} of {len(session_ids)} readers are satisfied"
