"""A ledger in PostgreSQL, behind an address that can be broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import psycopg

from tests.bed.address import Address
from tests.drill.ledger import (
    CALLBACKS,
    FOREIGN,
    MARK,
    SESSIONS,
    Ledger,
    Need,
    NotForDrills,
    StoredCallback,
    StoredSession,
    require_for_drills,
)

TABLES = """
SELECT relname FROM pg_class
WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')"""  # an extension's

REFUSE = """
CREATE FUNCTION drill_refuses() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the drill refuses it' USING ERRCODE = 'invalid_parameter_value'; END $$;
CREATE TRIGGER drill_refuses BEFORE INSERT ON callback FOR EACH ROW
WHEN (position('{0}'::bytea IN NEW.body) > 0 OR position('{0}'::bytea IN NEW.query) > 0)
EXECUTE FUNCTION drill_refuses()"""


class Postgresql(Ledger):
    """`direct` is how the drill itself reaches the database; the service's `url` goes through `address`."""

    name = "PostgreSQL"
    workers = 2
    troubles = (psycopg.Error,)

    def __init__(self, direct: str, url: str, address: Address) -> None:
        self.direct = direct
        self.url = url
        self.address = address
        why = "the server is not the drill's own"
        self.lacks = {Need.OWN_SERVER: why, Need.POOLER: why}

    @classmethod
    def lent(cls, url: str) -> Postgresql:
        """In somebody else's database. Raises NotForDrills if it cannot be reached."""
        direct = url.replace("postgres://", "postgresql://", 1).replace("+psycopg://", "://", 1)
        try:
            with psycopg.connect(direct, connect_timeout=5) as db:
                address = Address(_target(db))
                return cls(direct, _through(db, address.port), address)
        except psycopg.Error as trouble:
            raise NotForDrills(f"the database cannot be reached: {trouble}") from trouble

    def claim(self) -> None:
        with self.connect() as db:
            found = {name for (name,) in db.execute(TABLES)}
            require_for_drills(found, lambda: db.execute(FOREIGN).fetchone() is not None)
            db.execute(f"CREATE TABLE IF NOT EXISTS {MARK} (is_for_drills integer)")

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        async with _in_thread(self.address.refusing):
            yield

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[None]:
        async with _in_thread(self.address.hanging):
            yield

    @asynccontextmanager
    async def delaying_commits(self) -> AsyncIterator[None]:
        """Meanwhile transactions are committed, but only when the service has given up waiting for that."""
        async with _in_thread(self.address.delaying_commits):
            yield

    async def cut(self) -> None:
        """All its connections break."""
        await asyncio.to_thread(self.address.cut)

    @asynccontextmanager
    async def refusing_event(self, event: str) -> AsyncIterator[None]:
        await asyncio.to_thread(self.execute, REFUSE.format(event))
        try:
            yield
        finally:
            await asyncio.to_thread(self.execute, "DROP FUNCTION drill_refuses CASCADE")

    def callbacks(self, call_sids: str) -> Iterator[StoredCallback]:
        return (StoredCallback(*row) for row in self._rows(CALLBACKS, call_sids))

    def sessions(self, call_sids: str) -> Iterator[StoredSession]:
        return (StoredSession(*row) for row in self._rows(SESSIONS, call_sids))

    def execute(self, statements: str) -> None:
        with self.connect() as db:
            db.execute(statements)

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.direct, connect_timeout=5, options="-c timezone=UTC")

    def close(self) -> None:
        self.address.close()

    def _rows(self, query: str, call_sids: str) -> Iterator[tuple[Any, ...]]:
        with self.connect() as db:
            yield from db.execute(f"{query} %s", (call_sids,))


@asynccontextmanager
async def _in_thread(meanwhile: Callable[[], AbstractContextManager[None]]) -> AsyncIterator[None]:
    context = meanwhile()
    await asyncio.to_thread(context.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


def _target(db: psycopg.Connection[Any]) -> str:
    """Where this connection has ended up, as an address is told to lead there."""
    at = db.info
    if at.host.startswith("/"):
        return f"{at.host}/.s.PGSQL.{at.port}"
    return f"{at.hostaddr or at.host}:{at.port}"


def _through(db: psycopg.Connection[Any], port: int) -> str:
    """The same database by way of the address at `port`."""
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
