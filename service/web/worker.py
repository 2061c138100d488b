"""The worker class for gunicorn: uvicorn on one event loop, with our limits and an end that ends.

gunicorn's master imports this, so it imports nothing else of ours: a reload shall bring new code.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from types import FrameType
from typing import Any, Final

from gunicorn.arbiter import Arbiter
from uvicorn_worker import UvicornWorker

ANSWER_SECONDS: Final = 20  # for whole requests, at the end; below gunicorn's graceful_timeout


class Worker(UvicornWorker):  # type: ignore[misc]  # it has no types
    CONFIG_KWARGS: dict[str, Any] = {  # noqa: RUF012 (the base class has it so)
        "loop": "auto",  # uvloop where there is a wheel of it
        "http": "service.web.connection:Connection",
        "ws": "none",
        "lifespan": "on",
        "access_log": False,  # ours is written by service.web.access_log
        "proxy_headers": False,
        "server_header": False,
        # uvicorn waits for ever without it, gunicorn kills then, and lifespan's end never runs.
        "timeout_graceful_shutdown": ANSWER_SECONDS,
        "timeout_notify": 1,
    }

    # Of type service.bind.Bind: which of the sockets is the inside's. gunicorn_conf sets it.
    internal_bind: Any = None

    def init_signals(self) -> None:
        """uvicorn raises a signal again once it has ended: by default that would kill us before our logs."""
        super().init_signals()
        self._has_served = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._leave)

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        if not self._has_served:  # asked to end while it still starts
            sys.exit(0)

    async def _serve(self) -> None:
        """As the base class does it, with a server that tells inside from outside."""
        from service.web.server import PartedServer  # here, so that the master does not

        asyncio.get_running_loop().call_soon(self._mark)
        self.config.app = self.wsgi
        server = PartedServer(self.config, self.internal_bind)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def _mark(self) -> None:
        self._has_served = True

    async def callback_notify(self) -> None:
        """Each second. An orphan ends, or it would keep the port from the next master."""
        self.notify()
        if os.getppid() != self.ppid:
            self.log.info("the master is gone, ending")
            os.kill(os.getpid(), signal.SIGTERM)
