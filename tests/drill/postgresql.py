"""A ledger in PostgreSQL, with a line to it that can be broken."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg

from tests.drill import proxy
from tests.drill.ledger import (
    CALLBACKS,
    FOREIGN,
    MARK,
    SESSIONS,
    Ledger,
    NotForDrills,
    StoredCallback,
    StoredSession,
    require_for_drills,
)
from tests.drill.processes import Guard, environment
from tests.drill.server import Server

TABLES = """
SELECT relname FROM pg_class
WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')"""  # an extension's


class Postgresql(Ledger):
    """`url` goes through the proxy; what the drill itself reads does not.

    With `server`, its own, a stopped database is a server that has crashed and not only one out of reach.
    """

    name = "PostgreSQL"
    workers = 2

    def __init__(self, url: str, folder: Path, guard: Guard, server: Server | None = None) -> None:
        self.left_out = {}
        self._direct = url.replace("postgres://", "postgresql://", 1).replace("+psycopg://", "://", 1)
        self._server = server
        try:
            with self._connect() as db:
                target, self.url = _target(db), ""
                self._proxy = _start_proxy(target, folder)
                guard.watch(self._proxy.pid)
                self._guard = guard
                self.url = _through(db, self._read_line())
        except psycopg.Error as trouble:
            raise NotForDrills(f"the database cannot be reached: {trouble}") from trouble

    def claim(self) -> None:
        with self._connect() as db:
            found = {name for (name,) in db.execute(TABLES)}
            require_for_drills(found, lambda: db.execute(FOREIGN).fetchone() is not None)
            db.execute(f"CREATE TABLE IF NOT EXISTS {MARK} (is_for_drills integer)")

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        await self._tell(proxy.REFUSE)
        if self._server is not None:
            await asyncio.to_thread(self._server.crash)
        try:
            yield
        finally:
            if self._server is not None:
                await asyncio.to_thread(self._server.start)
            await self._tell(proxy.PASS)

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[None]:
        async with self._while(proxy.HANG):
            yield

    @asynccontextmanager
    async def dawdling(self) -> AsyncIterator[None]:
        async with self._while(proxy.DAWDLE):
            yield

    async def cut(self) -> None:
        await self._tell(proxy.CUT)

    def callbacks(self, call_sids: str) -> Iterator[StoredCallback]:
        return (StoredCallback(*row) for row in self._rows(CALLBACKS, call_sids))

    def sessions(self, call_sids: str) -> Iterator[StoredSession]:
        return (StoredSession(*row) for row in self._rows(SESSIONS, call_sids))

    def close(self) -> None:
        self._proxy.kill()
        self._proxy.communicate()
        self._guard.forget(self._proxy.pid)

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self._direct, connect_timeout=5, options="-c timezone=UTC")

    def _rows(self, query: str, call_sids: str) -> Iterator[tuple[Any, ...]]:
        with self._connect() as db:
            yield from db.execute(f"{query} %s", (call_sids,))

    @asynccontextmanager
    async def _while(self, command: str) -> AsyncIterator[None]:
        await self._tell(command)
        try:
            yield
        finally:
            await self._tell(proxy.PASS)

    async def _tell(self, command: str) -> None:
        await asyncio.to_thread(self._say, command)

    def _say(self, command: str) -> None:
        assert self._proxy.stdin is not None
        self._proxy.stdin.write(f"{command}\n".encode())
        self._proxy.stdin.flush()
        self._read_line()

    def _read_line(self) -> str:
        assert self._proxy.stdout is not None
        line = self._proxy.stdout.readline().decode().strip()
        if not line:
            raise NotForDrills("the drill's proxy to the database has ended")
        return line


def _target(db: psycopg.Connection[Any]) -> str:
    """What the proxy is told to connect to: where this connection has ended up."""
    at = db.info
    if at.host.startswith("/"):
        return f"{at.host}/.s.PGSQL.{at.port}"
    return f"{at.hostaddr or at.host} {at.port}"


def _through(db: psycopg.Connection[Any], port: str) -> str:
    """The same database by way of the proxy at `port`."""
    at = db.info
    said = at.get_parameters()
    options = {name: said[name] for name in said if name.startswith("ssl") or name == "channel_binding"}
    host = "127.0.0.1"
    if not at.host.startswith("/"):
        options["hostaddr"] = host  # libpq then still checks the certificate against the true name
        host = at.host
    password = f":{quote(at.password, safe='')}" if at.password else ""
    user = quote(at.user, safe="")
    query = f"?{urlencode(options)}" if options else ""
    return f"postgresql://{user}{password}@{host}:{port}/{quote(at.dbname, safe='')}{query}"


def _start_proxy(target: str, folder: Path) -> subprocess.Popen[bytes]:
    with contextlib.ExitStack() as opened:
        log = opened.enter_context((folder / "proxy.log").open("ab"))
        return subprocess.Popen(
            [sys.executable, "-m", "tests.drill.proxy", target],
            cwd=folder,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
