"""The service under gunicorn, as a program that can be killed, asked to end, and begun again."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.drill import http, processes

APP = "service.app:web()"
START_SECONDS = 30
STOP_SECONDS = 40  # longer than gunicorn's own patience
ORPHAN_SECONDS = 10


class DidNotStart(Exception):
    """Carries the end of its log."""


class Web:
    """Its port stays its own until `close`; while it is down, the port refuses connections.

    Whatever it prints goes through another process to its log, which so stays out of all that is broken here.
    """

    def __init__(self, folder: Path, guard: processes.Guard, app: str, workers: int) -> None:
        self.log = folder / "service.log"
        self.settings: dict[str, str] = {}
        self.workers = workers
        self._folder = folder
        self._guard = guard
        self._app = app
        # Bound and never listened to: it only keeps others off the port.
        self._place = _socket_at(0)
        self.port: int = self._place.getsockname()[1]
        self.url = f"http://{http.HOST}:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._group = 0

    def start(self) -> None:
        """Returns when /healthz answers and every worker is there."""
        command = [sys.executable, "-m", "gunicorn", "--config", "python:service.gunicorn_conf"]
        with self._listener() as listener, self.log.open("ab") as log:
            recorder = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log, start_new_session=True)
            assert recorder.stdin is not None
            with recorder.stdin:
                self._process = subprocess.Popen(
                    [*command, "--bind", f"fd://{listener.fileno()}", self._app],
                    cwd=self._folder,
                    env=processes.environment(**self.settings),
                    stdin=subprocess.DEVNULL,
                    stdout=recorder.stdin,
                    stderr=subprocess.STDOUT,
                    pass_fds=[listener.fileno()],
                    start_new_session=True,
                )
        self._group = self._process.pid
        self._guard.watch(self._group)
        deadline = time.monotonic() + START_SECONDS
        while not (self._is_well() and len(self.worker_pids()) == self.workers):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise DidNotStart(self.log.read_text(errors="replace")[-3000:] or "it wrote no log")
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM; what does not end is killed."""
        assert self._process is not None
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self.kill_all()

    def kill_worker(self) -> None:
        """SIGKILL to the youngest; the master makes another."""
        for worker in self.worker_pids()[-1:]:
            os.kill(worker, signal.SIGKILL)

    def kill_master(self) -> None:
        """SIGKILL to the master alone: the workers notice it, finish what they are at, and end."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def kill_all(self) -> None:
        """SIGKILL to all at once, as when the machine is lost."""
        processes.kill_group(self._group)
        if self._process is not None:
            self._process.wait()
            self._process = None
        self._guard.forget(self._group)

    def limit_files(self, largest_bytes: int | None) -> None:
        """From now on no file of the service can grow beyond; None: as before."""
        for pid in [self._group, *self.worker_pids()]:
            with contextlib.suppress(ProcessLookupError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                soft = hard if largest_bytes is None else largest_bytes
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))

    def worker_pids(self) -> list[int]:
        return processes.children(self._group)

    async def readiness(self) -> Mapping[str, Any]:
        """What /readyz says. Raises http.NoAnswer."""
        answer = await http.ask_once(self.port, _get("/readyz"), patience_seconds=5)
        said: dict[str, Any] = json.loads(answer.body)
        return said

    def close(self) -> None:
        if self._group:
            self.kill_all()
        self._place.close()

    def _listener(self) -> socket.socket:
        """A second socket at our port. Orphans of a killed master may still listen there for a while."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while True:
            try:
                return _socket_at(self.port, backlog=1024)
            except OSError:
                if time.monotonic() > deadline + 1:
                    raise
                if time.monotonic() > deadline:
                    processes.kill_group(self._group)
                time.sleep(0.05)

    def _is_well(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((http.HOST, self.port), 2) as line:
            line.sendall(_get("/healthz"))
            return line.recv(64).startswith(b"HTTP/1.1 200")
        return False


def _get(path: str) -> bytes:
    return http.compose("GET", path, {"Connection": "close"})


def _socket_at(port: int, backlog: int | None = None) -> socket.socket:
    """It listens if there is a backlog. Raises OSError where another one listens."""
    place = socket.socket()
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((http.HOST, port))
        if backlog is not None:
            place.listen(backlog)
    except OSError:
        place.close()
        raise
    return place
