"""The service with somebody beside it who measures how long its event loop lets others wait: `GET /lag`."""

from __future__ import annotations

import asyncio
import time

import service.app
from service.web import pace, traffic
from service.web.asgi import App, Receive, Scope, Send, answer_json

TICK_SECONDS = 0.005


def web() -> Watched:
    return Watched(service.app.web())


def cramped() -> Watched:
    """It has little room, which a test can fill, and answers few rejected callbacks at once."""
    vars(traffic).update(MOST_CONNECTIONS=100, MOST_BODIES=2 * 1024 * 1024)
    vars(pace).update(REJECTIONS=5, LONGEST_DELAY=3.0)
    return web()


class Watched:
    def __init__(self, app: App) -> None:
        self._app = app
        self._lags: list[float] = []
        self._cpu: list[float] = []
        self._tick: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._tick is None:
            self._tick = asyncio.create_task(self._watch())
        if scope["type"] == "http" and scope["path"] == "/lag":
            await answer_json(scope, send, 200, {"lags": self._lags, "cpu": self._cpu})
            self._lags, self._cpu = [], []
            return
        await self._app(scope, receive, send)

    async def _watch(self) -> None:
        """Seconds that each tick came late, and seconds of CPU that the loop's thread took meanwhile."""
        while True:
            due_at, cpu = time.monotonic() + TICK_SECONDS, time.thread_time()
            await asyncio.sleep(TICK_SECONDS)
            self._lags.append(time.monotonic() - due_at)
            self._cpu.append(time.thread_time() - cpu)
