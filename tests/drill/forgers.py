"""A program: forged callbacks to one port, as fast as they are answered, until its standard input ends.

    python -m tests.drill.forgers PORT CONNECTIONS CALL_SID

Prints every status that it was answered. It signs once, with a key that nobody knows, and sends that.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from tests.drill.callback import STARTED, Callback, Forgery, Session, Signer
from tests.drill.http import Line, NoAnswer

ANSWER_SECONDS = 10


async def _forge(line: Line, request: bytes, statuses: set[int]) -> None:
    while True:
        try:
            statuses.add((await line.ask(request, ANSWER_SECONDS)).status)
        except NoAnswer:
            await asyncio.sleep(0.1)


async def run(port: int, connections: int, call_sid: str) -> None:
    session = Session("", "drill-account", call_sid, "sid-of-nobody", "http://ours/callbacks/siprec", "POST")
    now = datetime.now(UTC)
    forged = Callback(session, STARTED, now, now.isoformat(), is_forged=True)
    request = Signer().request(forged, forgery=Forgery.OTHER_KEY)
    statuses: set[int] = set()
    forgers = [asyncio.create_task(_forge(Line(port), request, statuses)) for _ in range(connections)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for forger in forgers:
        forger.cancel()
    await asyncio.gather(*forgers, return_exceptions=True)
    print(*sorted(statuses), sep="\n")


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
