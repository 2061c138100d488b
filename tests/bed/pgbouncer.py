"""PgBouncer in transaction mode, in front of a PostgreSQL server."""

import atexit
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.bed import processes, programs
from tests.bed.postgres import Postgres, for_psycopg

START_SECONDS = 10
SETTINGS = {
    "listen_addr": "",  # the socket in its folder is enough
    "auth_type": "any",
    "pool_mode": "transaction",
    "max_client_conn": "500",
    "default_pool_size": "10",
}


class DidNotStart(Exception):
    """Carries the end of its log."""


def find() -> str | None:
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def require() -> str:
    """For a test: the program, or the test is skipped."""
    if program := find():
        return program
    pytest.skip("no PgBouncer on this machine (Debian: apt-get install pgbouncer)")


class PgBouncer:
    """From `with` to its end. `settings` add to what its file says, or replace it; whoever connects to it
    becomes `user` on the server.

    with PgBouncer(server) as pooler:
        url = pooler.in_front_of(server.create_database())
    """

    def __init__(self, server: Postgres, user: str | None = None, **settings: str) -> None:
        self._server = server
        self._user = user
        self._settings = {**SETTINGS, **settings}
        self._program = require()

    def __enter__(self) -> Self:
        # Not in TMPDIR, whose path may be too long for a socket in it.
        self.folder = Path(tempfile.mkdtemp(prefix="bed-pooler-", dir="/tmp"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, *programs.nobody())  # it refuses to run as root
        (self.folder / "pgbouncer.ini").write_text(self._file())
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, self.folder / "pgbouncer.ini"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **programs.as_who(),
            )
        self._guard = processes.Guard(self._process, folder=self.folder)
        atexit.register(self.close)
        self._wait_until_it_answers()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def socket(self) -> Path:
        return self.folder / ".s.PGSQL.5432"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def in_front_of(self, url: str) -> str:
        """The URL of a database of the server, by way of the pooler."""
        found = re.search(r"://[^/?]*/([^?]*)", url)
        assert found, url
        return f"postgresql://postgres@/{found[1]}?host={self.folder}"

    def close(self) -> None:
        """Safe to call twice."""
        atexit.unregister(self.close)
        self._process.kill()
        self._process.wait()
        self._guard.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self) -> str:
        there = conninfo_to_dict(for_psycopg(self._server.url))
        there = {name: there[name] for name in ("host", "port", "user", "password") if there.get(name)}
        there |= {"user": self._user} if self._user else {}
        lines = ["[databases]", f"* = {make_conninfo('', **there)}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in self._settings.items()]
        return "\n".join([*lines, "listen_port = 5432", f"unix_socket_dir = {self.folder}", ""])

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                psycopg.connect(self.in_front_of(self._server.url), connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return
        tail = self.log[-2000:]
        self.close()
        raise DidNotStart(tail)
