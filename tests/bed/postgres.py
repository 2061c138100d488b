"""A real PostgreSQL server, from a wheel; or the one that TEST_DATABASE_URL names."""

import atexit
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import psutil
import psycopg
from psycopg import sql

from tests.bed import processes, programs

START_SECONDS = 30
STOP_SECONDS = 30
SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}

Stop = Literal["fast", "immediate"]

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "300",
    "timezone": "UTC",
    "dynamic_shared_memory_type": "mmap",  # in our folder, so that it goes with the folder
}


class NotOurServer(Exception):
    """TEST_DATABASE_URL names a server that is not ours to start, stop or freeze."""


class DidNotStart(Exception):
    """PostgreSQL ended, or took no connections in time. Carries the end of its log."""


class Postgres:
    """A server with a folder of its own, from `start` until `close`; `stop` in between keeps the data.

        with Postgres() as server:
            url = server.create_database()

    With TEST_DATABASE_URL (to any database of a server on which we may create databases) there is nothing
    to start or stop: `is_ours` is false, and whatever would do so raises NotOurServer. `close` drops the
    databases that are left over. `own`: never mind TEST_DATABASE_URL.
    """

    def __init__(self, *, own: bool = False) -> None:
        self._lent = None if own else os.environ.get("TEST_DATABASE_URL") or None
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: processes.Guard | None = None
        self._databases: set[str] = set()
        self._frozen = False

    def __enter__(self) -> Self:
        if self.is_ours:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_ours(self) -> bool:
        return self._lent is None

    @property
    def url(self) -> str:
        """The database from which the others are made."""
        return self._lent or f"postgresql://postgres@/postgres?host={self.folder}"

    @property
    def folder(self) -> Path:
        """Where it keeps its data, socket and log."""
        self._must_be_ours()
        if self._folder is None:
            raise RuntimeError("the server was not started")
        return self._folder

    @property
    def socket(self) -> Path:
        return self.folder / ".s.PGSQL.5432"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        self._must_be_ours()
        if self._process is not None:
            raise RuntimeError("the server runs already")
        if self._folder is None:
            self._make_folder()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the test run, not for the server
                **programs.as_who(),
            )
        self._guard = processes.Guard(self._process, folder=self.folder)
        self._wait_until_it_answers()

    def stop(self, mode: Stop = "fast") -> None:
        """`fast` cuts every connection and closes the books; `immediate` is a crash."""
        process = self._running()
        self.thaw()
        process.send_signal(SIGNALS[mode])
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._forget()

    def kill(self) -> None:
        """SIGKILL to all of it at once, as when the machine is lost; a frozen one too."""
        process = self._running()
        self._send_all(signal.SIGSTOP)  # so that it makes no child while we count them
        family = processes.children(process.pid)
        process.kill()
        for child in family:
            child.kill()
        process.wait()
        psutil.wait_procs(family, STOP_SECONDS)
        self._frozen = False
        self._forget()

    def restart(self, mode: Stop = "fast") -> None:
        self.stop(mode)
        self.start()

    def freeze(self) -> None:
        """From now on nothing is answered and no connection breaks: the server as behind a dead network."""
        self._send_all(signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        self._must_be_ours()
        if self._frozen:
            self._send_all(signal.SIGCONT)
            self._frozen = False

    def close(self) -> None:
        """End it for good, and remove its folder. Safe to call twice."""
        atexit.unregister(self.close)
        if self._process is not None:
            self.stop("immediate")
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None
        for name in self._databases if self._lent else ():
            self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        self._databases.clear()

    def create_database(self, template: str | None = None) -> str:
        """A new database, and its URL. `template` is the URL of one that it shall be a copy of.

        Nobody may be connected to the template.
        """
        name = f"bed_{uuid4().hex}"
        self._administer("CREATE DATABASE {} TEMPLATE {}", name, _name(template) if template else "template0")
        self._databases.add(name)
        return _with_name(self.url, name)

    def drop_database(self, url: str) -> None:
        """Whoever is connected to it is cut off."""
        self._administer("DROP DATABASE {} WITH (FORCE)", _name(url))
        self._databases.discard(_name(url))

    def _administer(self, statement: str, *names: str) -> None:
        with psycopg.connect(for_psycopg(self.url), autocommit=True) as db:
            db.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _forget(self) -> None:
        self._process = None
        if self._guard:
            self._guard.release()
            self._guard = None

    def _must_be_ours(self) -> None:
        if not self.is_ours:
            raise NotOurServer("the server that TEST_DATABASE_URL names is not ours to start, stop or freeze")

    def _running(self) -> subprocess.Popen[bytes]:
        self._must_be_ours()
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process

    def _make_folder(self) -> None:
        # Not in TMPDIR, whose path may be too long for a socket in it (107 bytes, 103 on a Mac).
        self._folder = Path(tempfile.mkdtemp(prefix="bed-pg-", dir="/tmp"))
        atexit.register(self.close)
        if os.geteuid() == 0:
            shutil.chown(self._folder, *programs.nobody())
        self.programs = programs.find(self._folder)
        self._make_data()

    def _make_data(self) -> None:
        self._run(
            "initdb",
            f"--pgdata={self.folder / 'data'}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-sync",  # only for its own files; the server syncs what it is given
        )

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            **programs.as_who(),
        )
        if done.returncode:
            raise DidNotStart(done.stdout + done.stderr)

    def _command(self) -> list[str | Path]:
        command: list[str | Path] = [
            self.programs / "postgres",
            "-D",
            self.folder / "data",
            "-k",
            self.folder,
        ]
        for name, value in SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._running().poll() is None:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return
        tail = self.log[-2000:]
        self.close()
        raise DidNotStart(tail)

    def _send_all(self, number: signal.Signals) -> None:
        # The postmaster first: it cannot make another child while we go round.
        self._running().send_signal(number)
        for child in processes.children(self.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(number)


def _name(url: str) -> str:
    return unquote(urlsplit(url).path.removeprefix("/"))


def _with_name(url: str, name: str) -> str:
    return re.sub(r"(://[^/?]*)(/[^?]*)?", rf"\1/{name}", url, count=1)


def for_psycopg(url: str) -> str:
    scheme, rest = url.split("://", 1)
    return f"{scheme.split('+')[0]}://{rest}"
