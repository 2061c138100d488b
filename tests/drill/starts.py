"""Sessions, asked for as internal apps ask for them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from tests.drill import http
from tests.drill.callback import Session
from tests.drill.ledger import CALLS
from tests.drill.telnyx import Telnyx

ACCOUNT_SID = "drill-account"
AT_ONCE = 6  # the service lets a quarter of its threads wait for Telnyx
ANSWER_SECONDS = 20
ATTEMPTS = 20


class CannotStart(Exception):
    """The service does not start sessions though nothing is broken."""


@dataclass
class Promises:
    """What the service has said of starts; `answers`: session id -> 201 or 202, `at` -> Unix time."""

    answers: dict[str, int] = field(default_factory=dict)
    at: dict[str, float] = field(default_factory=dict)
    statuses: list[int | None] = field(default_factory=list)  # of every start; None: no answer


class Starter:
    """`run` is in every call_sid, so that this drill's rows are found among those of others."""

    def __init__(self, port: int, api_key: str, telnyx: Telnyx, run: str) -> None:
        self._run = self._prefix = f"{CALLS}{run}-"
        self.call_sids = f"{self._run}%"  # LIKE
        self._parts = count(1)
        self._port = port
        self._api_key = api_key
        self._telnyx = telnyx
        self._numbers = count(1)

    def begin_part(self) -> str:
        """What the call_sids of all starts from now on are LIKE."""
        self._prefix = f"{self._run}{next(self._parts)}-"
        return f"{self._prefix}%"

    def new_call(self) -> str:
        return f"{self._prefix}{next(self._numbers)}"

    async def start_many(self, methods: Sequence[str], promises: Promises) -> list[Session]:
        """Sessions to send callbacks for, while nothing is broken. Raises CannotStart."""
        turns = asyncio.Semaphore(AT_ONCE)
        started: dict[str, str] = {}

        async def start(method: str) -> None:
            async with turns:
                for _ in range(ATTEMPTS):
                    if session_id := await self.start(promises, call_sid := self.new_call(), method):
                        started[session_id] = call_sid
                        return
                    await asyncio.sleep(0.5)
                raise CannotStart(f"starts are answered {promises.statuses[-ATTEMPTS:]}")

        await asyncio.gather(*(start(method) for method in methods))
        return await self.told(started)

    async def start(self, promises: Promises, call_sid: str, method: str = "POST") -> str | None:
        """The session's id, if it was promised to be kept."""
        body = json.dumps({"call_sid": call_sid, "status_callback_method": method}).encode()
        try:
            answer = await http.ask_once(
                self._port, self.request("POST", "/v1/sessions", body), ANSWER_SECONDS
            )
        except http.NoAnswer:
            promises.statuses.append(None)
            return None
        promises.statuses.append(answer.status)
        if answer.status not in {201, 202}:
            return None
        session_id: str = json.loads(answer.body)["id"]
        promises.answers[session_id] = answer.status
        promises.at[session_id] = time.time()
        return session_id

    def request(self, method: str, target: str, body: bytes = b"") -> bytes:
        headers = {"Authorization": f"Bearer {self._api_key}"}
        if body:
            headers |= {"Content-Type": "application/json", "Connection": "close"}
        return http.compose(method, target, headers, body)

    async def told(self, started: dict[str, str]) -> list[Session]:
        """The sessions (id -> call_sid) as Telnyx knows them; those that it has not heard of are left out."""
        known = {one["call_sid"]: one for one in await self._telnyx.sessions()}
        return [
            Session(
                session_id,
                ACCOUNT_SID,
                call_sid,
                known[call_sid]["sid"],
                known[call_sid]["status_callback"],
                known[call_sid]["status_callback_method"],
            )
            for session_id, call_sid in started.items()
            if call_sid in known
        ]
