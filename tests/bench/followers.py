"""Readers that wait: many for a session of their own, a few for everything that happens.

Whose session is over has what it wanted, and asks no more; a reader of everything goes on from where it was.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import Final

NEXT: Final = re.compile(rb'"next":"([^"]+)"}$')
LENGTH: Final = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
KEY: Final = "LEDGER_KEY"  # in the environment
BUSY: Final = 503
ARRIVE_SECONDS: Final = 0.008
SETTLE_SECONDS: Final = 2  # until all wait


class Connection:
    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)

    async def get(self, path: str) -> bytes:
        """The body of the answer, which is 200; asked again while the service is busy."""
        status, body = await self._get(path)
        while status == BUSY:
            await asyncio.sleep(1)
            status, body = await self._get(path)
        if status != 200:
            raise SystemExit(f"{path}: {status} {body.decode()}")
        return body

    async def _get(self, path: str) -> tuple[int, bytes]:
        lines = [f"GET {path} HTTP/1.1", "Host: bench", f"Authorization: Bearer {os.environ[KEY]}", "", ""]
        self._writer.write("\r\n".join(lines).encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        assert length is not None
        return int(head.split(b" ", 2)[1]), await self._reader.readexactly(int(length[1]))


class Seen:
    events = 0
    sessions = 0


async def wait_for_session(port: int, session_id: str, seen: Seen) -> None:
    connection = Connection(port)
    await connection.open()
    while b'"ended_at":null' in await connection.get(f"/v1/sessions/{session_id}?wait=over"):
        pass
    seen.sessions += 1


async def follow(port: int, after: str, seen: Seen) -> None:
    connection = Connection(port)
    await connection.open()
    while True:
        body = await connection.get(f"/v1/events?after={after}&wait=20&limit=1000")
        seen.events += body.count(b'"specversion"')
        found = NEXT.search(body)
        assert found is not None
        after = found[1].decode()


async def main(port: int, followers: int) -> None:
    """Session ids come on standard input, to its first empty line; it ends when there is no more of it."""
    ids, seen = [line.strip() for line in iter(sys.stdin.readline, "\n")], Seen()
    first = Connection(port)
    await first.open()
    now = NEXT.search(await first.get("/v1/events?after=now"))
    assert now is not None
    tasks = [asyncio.create_task(follow(port, now[1].decode(), seen)) for _ in range(followers)]
    for one in ids:
        tasks.append(asyncio.create_task(wait_for_session(port, one, seen)))
        await asyncio.sleep(ARRIVE_SECONDS)
    await asyncio.sleep(SETTLE_SECONDS)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    failed = [task.exception() for task in tasks if task.done() and task.exception()]
    if failed:
        raise SystemExit(f"{len(failed)} readers failed, the first by {failed[0]!r}")
    print(seen.events, seen.sessions, flush=True)
    os._exit(0)  # or a thousand tasks would be cancelled one by one


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
