"""The service under its real server, as a program of its own that may be killed."""

import atexit
import contextlib
import http.client
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.bed import places, processes
from tests.bed.processes import CHECKOUT as CHECKOUT

START_SECONDS = 30
STOP_SECONDS = 40  # longer than gunicorn's own patience
ORPHAN_SECONDS = 10


class DidNotStart(Exception):
    """The server ended, or /healthz did not answer 200 in time. Carries the end of its log."""


class Web:
    """gunicorn with the service, on a port of 127.0.0.1 that stays its own until `close`.

        with Web({"DATABASE_URL": url, ...}) as web:
            requests.get(f"{web.url}/healthz")

    `env` is its whole environment but for processes.KEPT. It runs in a folder of its own, empty but for its
    log; or in `folder`, which stays. After `stop` or `kill_…` the port refuses connections, and `start`
    begins again at the same `url`. `is_log_apart`: another process writes the log, which so stays whole
    whatever `limit_files` does, and comes a moment later. With INTERNAL_BIND in `env`, gunicorn
    listens there too.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        workers: int = 1,
        threads: int = 16,
        *,
        app: str = "service.app:web()",
        config: str | None = "python:service.gunicorn_conf",
        folder: Path | None = None,
        is_log_apart: bool = False,
    ) -> None:
        self.env = dict(env)
        self.workers = workers
        self.threads = threads
        self._app = app
        self._config = config
        self._is_log_apart = is_log_apart
        # Bound and never listened to, it only keeps others off the port. What gunicorn gets is a second
        # socket at the same address, so that the port refuses connections once gunicorn is gone;
        # a listening socket that we kept open would take them and leave them waiting.
        self._place = places.some()
        self.address: tuple[str, int] = self._place.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self._is_folder_ours = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="bed-web-"))
        self._log = self.folder / "log"
        self._log.touch()
        self._process: subprocess.Popen[bytes] | None = None
        self._orphans: int | None = None  # the group of a master that was killed alone
        self._log_writers: list[subprocess.Popen[bytes]] = []
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
        with self._socket_once_free() as listener, self._log_to_write() as log:
            self._process = subprocess.Popen(
                self._command(listener.fileno()),
                cwd=self.folder,
                env=processes.environment({**self._listening(), **self.env}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
        self._guard = processes.Guard(self._process, folder=self.folder if self._is_folder_ours else None)
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
        processes.send_to_group(process.pid)
        process.wait()
        self._forget()

    def kill_master_alone(self) -> None:
        """The workers notice it, finish what they are at, and end; `start` waits until none listens."""
        process = self._running()
        process.kill()
        process.wait()
        self._orphans = process.pid
        self._forget()

    def kill_worker(self) -> int:
        """SIGKILL to one worker, which the master replaces. Returns the id it had."""
        victim = self.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        return victim

    def limit_files(self, largest_bytes: int | None) -> None:
        """From now on no file that it writes can grow beyond; None: as before."""
        for pid in [self.master_pid, *self.worker_pids()]:
            with contextlib.suppress(ProcessLookupError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                soft = hard if largest_bytes is None else largest_bytes
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))

    def close(self) -> None:
        """End it and give the port back. Safe to call twice."""
        atexit.unregister(self.close)
        if self._process is not None:
            self.stop()
        self._end_orphans()
        for writer in self._log_writers:
            writer.wait()  # they end when nobody is left whose words they could write
        self._place.close()
        if self._is_folder_ours:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process

    def _forget(self) -> None:
        self._process = None
        if self._guard:
            self._guard.release()
            self._guard = None

    def _end_orphans(self) -> None:
        if self._orphans is not None:
            processes.send_to_group(self._orphans)
            self._orphans = None

    def _listening(self) -> dict[str, str]:
        """What the service's own configuration binds, where the command does not."""
        return {"HOST": self.address[0], "PORT": str(self.address[1])}

    def _command(self, descriptor: int) -> list[str]:
        command = [sys.executable, "-m", "gunicorn"]
        if "INTERNAL_BIND" not in self.env:
            command += ["--bind", f"fd://{descriptor}"]  # which would replace both
        command += ["--workers", str(self.workers), "--threads", str(self.threads)]
        if self._config:
            command += ["--config", self._config]
        return [*command, self._app]

    @contextlib.contextmanager
    def _log_to_write(self) -> Iterator[IO[bytes]]:
        with self._log.open("ab") as log:
            if not self._is_log_apart:
                yield log
                return
            writer = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log, start_new_session=True)
        self._log_writers.append(writer)
        assert writer.stdin is not None
        with writer.stdin:
            yield writer.stdin

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

    def _socket_once_free(self) -> socket.socket:
        """Who was killed a moment ago listens until its last thread is gone."""
        began = time.monotonic()
        while True:
            try:
                return places.at(self.address)
            except OSError:
                if time.monotonic() > began + START_SECONDS:
                    raise
                if time.monotonic() > began + ORPHAN_SECONDS:
                    self._end_orphans()
                time.sleep(0.01)
