"""A PostgreSQL primary with a streaming standby, and an address that can be moved between them."""

import re
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import psycopg

from tests.bed.address import Address
from tests.bed.postgres import DidNotStart, Postgres

STREAM_SECONDS = 30
STREAMS = """
SELECT sync_state = %s AND replay_lsn >= pg_current_wal_lsn() FROM pg_stat_replication
WHERE state = 'streaming' AND application_name = %s"""


class Standby(Postgres):
    """A copy of `primary`, which must run; it goes on following it until `promote`."""

    def __init__(self, primary: Postgres) -> None:
        super().__init__(own=True)
        self._primary = primary

    def promote(self) -> None:
        """Returns when it takes writes."""
        with psycopg.connect(self.url, autocommit=True) as db:
            if db.execute("SELECT pg_promote()").fetchone() != (True,):
                raise DidNotStart(self.log[-2000:])

    def _make_data(self) -> None:
        data = self.folder / "data"
        source = f"host={self._primary.folder} user=postgres application_name={self.folder.name}"
        copy = ("--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--no-sync")
        self._run("pg_basebackup", f"--pgdata={data}", f"--dbname={source}", *copy)
        with (data / "postgresql.auto.conf").open("a") as settings:
            # The primary's is copied with the rest. Once promoted, it would wait for a standby of its own.
            settings.write("synchronous_standby_names = ''\n")


class Pair:
    """`primary`, `standby` and `address`, which leads to the primary, from `with` to its end.

        with Pair(is_synchronous=True) as pair:
            url = pair.create_database()
            pair.primary.kill()
            pair.fail_over()

    Each of the two can be stopped, killed, frozen and started again, as every Postgres. `old` is what was
    the primary before `fail_over`, in whatever state it is. `renew` after it: a new standby.
    """

    def __init__(self, *, is_synchronous: bool) -> None:
        self.is_synchronous = is_synchronous
        self.primary = Postgres(own=True)
        self.standby = Standby(self.primary)
        self.old: Postgres | None = None
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        self._opened.callback(self._close_servers)
        try:
            self.primary.start()
            self.address = self._opened.enter_context(Address(self.primary.socket))
            self._begin_to_follow()
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def create_database(self, template: str | None = None) -> str:
        """A new database, and its URL by way of the address. `template`: as Postgres has it."""
        return self.through_address(self.primary.create_database(template))

    def through_address(self, url: str, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.address.port}/{_name(url)}"

    def on(self, server: Postgres, url: str) -> str:
        """The same database on this server, wherever the address leads."""
        return f"postgresql://postgres@/{_name(url)}?host={server.folder}"

    def lead_to(self, server: Postgres, *, cut: bool) -> None:
        """Move the address; `cut`: connections that are open break, or else they stay where they are."""
        self.address.lead_to(server.socket)
        if cut:
            self.address.cut()

    def fail_over(self, *, cut: bool = True) -> None:
        """Promote the standby, whatever became of the primary, and move the address to it."""
        self.standby.promote()
        self.old, self.primary = self.primary, self.standby
        self.lead_to(self.primary, cut=cut)

    def part(self) -> None:
        """End all but the primary, which goes on alone."""
        if self.old is not None:
            self.old.close()
            self.old = None
        if self.standby is not self.primary:
            self._set_synchronous(False)
            self.standby.close()

    def renew(self, *, is_synchronous: bool | None = None) -> None:
        """Give the primary a new standby, whatever became of the others; as before, if it is not said."""
        self.part()
        if is_synchronous is not None:
            self.is_synchronous = is_synchronous
        self.standby = Standby(self.primary)
        self._begin_to_follow()

    def wait_until_caught_up(self) -> None:
        """Returns when the standby shows all that the primary does, and is synchronous if it shall be."""
        wanted = "sync" if self.is_synchronous else "async"
        deadline = time.monotonic() + STREAM_SECONDS
        with psycopg.connect(self.primary.url, autocommit=True) as db:
            while db.execute(STREAMS, (wanted, self.standby.folder.name)).fetchone() != (True,):
                if time.monotonic() > deadline:
                    raise DidNotStart(self.standby.log[-2000:])
                time.sleep(0.02)

    def _begin_to_follow(self) -> None:
        self.standby.start()
        self._set_synchronous(self.is_synchronous)
        self.wait_until_caught_up()

    def _set_synchronous(self, is_synchronous: bool) -> None:
        with psycopg.connect(self.primary.url, autocommit=True) as db:
            names = "*" if is_synchronous else ""
            db.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
            db.execute("SELECT pg_reload_conf()")

    def _close_servers(self) -> None:
        for server in (self.old, self.standby, self.primary):
            if server is not None:
                server.close()  # twice, once the standby is the primary


def _name(url: str) -> str:
    found = re.search(r"://[^/?]*/([^?]*)", url)
    assert found, url
    return found[1]
