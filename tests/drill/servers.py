"""A ledger in a PostgreSQL of the drill's own: with a standby, a pooler, and grants to take away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime

import psycopg

from tests.bed import pgbouncer
from tests.bed.pair import Pair
from tests.bed.pgbouncer import PgBouncer
from tests.drill.ledger import Need
from tests.drill.postgresql import Postgresql

ROLE = "ledger"  # a superuser's grants cannot be taken away
WRITES = "INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
STUCK = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


class Servers(Postgresql):
    """From `__init__` until `close`; outside of the faults that are about a standby it has none."""

    def __init__(self) -> None:
        self._opened = ExitStack()
        self.pair = self._opened.enter_context(Pair(is_synchronous=False))
        try:
            self.pair.part()
            url = self._make_database()
        except BaseException:
            self._opened.close()
            raise
        super().__init__(url, self.pair.through_address(url, ROLE), self.pair.address)
        self.lacks = {} if pgbouncer.find() else {Need.POOLER: "there is no PgBouncer on this machine"}

    def _make_database(self) -> str:
        url = self.pair.primary.create_database()
        with psycopg.connect(url) as db:
            db.execute(f"CREATE ROLE {ROLE} LOGIN")
            db.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {ROLE}")
        return url

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """The server has crashed, and is not only out of reach."""
        async with super().away():
            await asyncio.to_thread(self.pair.primary.stop, "immediate")
            try:
                yield
            finally:
                await asyncio.to_thread(self.pair.primary.start)

    @asynccontextmanager
    async def without_grants(self) -> AsyncIterator[None]:
        """Meanwhile the service may read, and not write."""
        await asyncio.to_thread(self.execute, f"REVOKE {WRITES} FROM {ROLE}")
        try:
            yield
        finally:
            await asyncio.to_thread(self.execute, f"GRANT {WRITES} TO {ROLE}")

    @asynccontextmanager
    async def with_standby(self, *, is_synchronous: bool) -> AsyncIterator[Pair]:
        """Meanwhile the primary has one; afterwards whichever is the primary goes on alone."""
        await asyncio.to_thread(self.pair.renew, is_synchronous=is_synchronous)
        try:
            yield self.pair
        finally:
            await asyncio.to_thread(self.pair.part)
            self.direct = self.pair.on(self.pair.primary, self.direct)

    async def fail_over(self, *, cut: bool) -> None:
        await asyncio.to_thread(self.pair.fail_over, cut=cut)
        self.direct = self.pair.on(self.pair.primary, self.direct)

    @asynccontextmanager
    async def pooled(self) -> AsyncIterator[None]:
        """Meanwhile PgBouncer stands between, in transaction mode."""
        pooler = PgBouncer(self.pair.primary, user=ROLE)
        await asyncio.to_thread(pooler.__enter__)
        try:
            await asyncio.to_thread(self.pair.address.lead_to, pooler.socket)
            await self.cut()
            yield
        finally:
            await asyncio.to_thread(self.pair.address.lead_to, self.pair.primary.socket)
            await self.cut()
            await asyncio.to_thread(pooler.close)

    def happened_at_on(self, url: str, call_sids: str) -> set[datetime | None]:
        """Of all callbacks on another server."""
        return {row.happened_at for row in self._other(url).callbacks(call_sids)}

    def session_ids_on(self, url: str, call_sids: str) -> set[str]:
        """Of all sessions on another server."""
        return {row.session_id for row in self._other(url).sessions(call_sids)}

    def _other(self, url: str) -> Postgresql:
        return Postgresql(url, url, self.address)

    def count_stuck(self) -> int:
        """Server processes whose COMMIT waits for a standby."""
        with self.connect() as db:
            found = db.execute(STUCK).fetchone()
        assert found is not None
        return int(found[0])

    def close(self) -> None:
        self._opened.close()
