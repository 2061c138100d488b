"""A ledger whose clock stands wherever its caller puts it: only for a history that is made up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from service.store.columns import written_out
from service.store.database_kinds import DriverConnection
from service.store.engine import Database
from service.store.errors import DatabaseUnusable
from service.store.sqlite import SqliteConnection


class PastDatabase(Database):
    """SQLite, whose own clock, which numbers events, says what `clock` says (UTC).

    What it commits may be lost with the machine: whoever makes up a history can make it again.
    Raises DatabaseUnusable for another kind of database.
    """

    def __init__(self, url: str, clock: Callable[[], datetime]) -> None:
        super().__init__(url)
        if not self.is_sqlite:
            raise DatabaseUnusable("only SQLite's clock can be moved")
        self._clock = clock

    def _connect(self, *, for_ingest: bool) -> DriverConnection:
        connection = super()._connect(for_ingest=for_ingest)
        assert isinstance(connection, SqliteConnection)
        # The ledger asks for no other moment than now, and for it in no other form (columns.SQLITE_NOW).
        connection.create_function("strftime", 2, lambda _form, _moment: written_out(self._clock()))
        connection.execute("PRAGMA synchronous=OFF")
        return connection
