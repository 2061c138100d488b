"""The service under its real server, as a program of its own that a test may kill."""

import atexit
import contextlib
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bed import processes

CHECKOUT = Path(__file__).parents[2]
START_SECONDS = 20
STOP_SECONDS = 15

# All that a developer's own environment may say; above all none of his TELNYX_* and DATABASE_URL.
KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")


class DidNotStart(Exception):
    """The server ended, or /healthz did not answer 200 in time. Carries the end of its log."""


class Web:
    """gunicorn with the service, on a port of 127.0.0.1 that stays its own until `close`.

        with Web({"DATABASE_URL": url, ...}) as web:
            requests.get(f"{web.url}/healthz")

    `env` is its whole environment but for KEPT. It runs in `folder`, empty but for its log.
    After `stop` or `kill_master` the port refuses connections, and `start` begins again at the same `url`.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        workers: int = 1,
        threads: int = 16,
        *,
        app: str = "service.app:web()",
        config: str | None = "python:service.gunicorn_conf",
    ) -> None:
        self.env = dict(env)
        self.workers = workers
        self.threads = threads
        self._app = app
        self._config = config
        # Bound and never listened to, it only keeps others off the port. What gunicorn gets is a second
        # socket at the same address, so that the port refuses connections once gunicorn is gone;
        # a listening socket that we kept open would take them and leave them waiting.
        self._place = _some_place()
        self.address: tuple[str, int] = self._place.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self.folder = Path(tempfile.mkdtemp(prefix="bed-web-"))
        self._log = self.folder / "log"
        self._log.touch()
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: processes.Guard | None = None
        atexit.register(self.close)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def log(self) -> str:
        """All that it has written, over all its starts."""
        return self._log.read_text(errors="replace")

    @property
    def master_pid(self) -> int:
        return self._running().pid

    def worker_pids(self) -> list[int]:
        return sorted(child.pid for child in processes.children(self.master_pid))

    def start(self) -> None:
        """Returns when GET /healthz answers 200 and every worker is there."""
        if self._process is not None:
            raise RuntimeError("the server runs already")
        with _socket_once_free(self.address) as listener, self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(listener.fileno()),
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
        self._guard = processes.Guard(self._process, self.folder)
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Ask it to finish what it is at and end; after STOP_SECONDS, kill it."""
        process = self._running()
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        self.kill_master()

    def kill_master(self) -> None:
        """SIGKILL to the master and all workers at once, as when the machine is lost."""
        process = self._running()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._process = None
        if self._guard:
            self._guard.release()
            self._guard = None

    def kill_worker(self) -> int:
        """SIGKILL to one worker, which the master replaces. Returns the id it had."""
        victim = self.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        return victim

    def close(self) -> None:
        """End it and give the port back. Safe to call twice."""
        atexit.unregister(self.close)
        if self._process is not None:
            self.stop()
        self._place.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process

    def _command(self, descriptor: int) -> list[str]:
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{descriptor}"]
        command += ["--workers", str(self.workers), "--threads", str(self.threads)]
        if self._config:
            command += ["--config", self._config]
        return [*command, self._app]

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        return {**kept, "PYTHONPATH": str(CHECKOUT), **self.env}

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._running().poll() is None:
            if self._is_well() and len(self.worker_pids()) == self.workers:
                return
            time.sleep(0.02)
        tail = self.log[-4000:]
        self.kill_master()
        raise DidNotStart(tail or "it wrote no log")

    def _is_well(self) -> bool:
        connection = http.client.HTTPConnection(*self.address, timeout=2)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/healthz")
            return connection.getresponse().status == http.HTTPStatus.OK
        return False


def _some_place() -> socket.socket:
    """A socket on a free port below those that the kernel gives to outgoing connections.

    One of these could take the port while nobody listens there, and then gunicorn could not come back.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with contextlib.suppress(OSError):
            return _socket_at(("127.0.0.1", port))
    raise DidNotStart("a hundred ports were taken")


def _socket_once_free(address: tuple[str, int]) -> socket.socket:
    """Who was killed a moment ago listens until its last thread is gone."""
    give_up = time.monotonic() + STOP_SECONDS
    while True:
        try:
            return _socket_at(address)
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _socket_at(address: tuple[str, int]) -> socket.socket:
    place = socket.socket()
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(address)
    except OSError:
        place.close()
        raise
    return place
