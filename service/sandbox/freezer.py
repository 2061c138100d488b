"""Freezes a ledger's SQLite database: holds its write lock, for a while at most."""

import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Event, Lock, Thread

LONGEST_SECONDS = 60.0
BUSY_SECONDS = 10.0


class CannotFreeze(Exception):
    """The database did not give its write lock."""


class Freezer:
    """Nothing can be written while it is frozen; what is there can be read. Nothing is written here."""

    def __init__(self, database: Path, longest_seconds: float = LONGEST_SECONDS) -> None:
        self._database = database
        self._longest_seconds = longest_seconds
        self._lock = Lock()
        self._end = Event()
        self._thread: Thread | None = None

    @property
    def is_frozen(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def freeze(self) -> None:
        """Returns once it is frozen. Raises CannotFreeze."""
        with self._lock:
            if self.is_frozen:
                return
            self._end = Event()
            is_held = Event()
            self._thread = Thread(target=self._hold, args=(self._end, is_held), name="freezer", daemon=True)
            self._thread.start()
            while not is_held.wait(0.02):
                if not self._thread.is_alive():
                    raise CannotFreeze("the database could not be frozen: somebody else kept writing")

    def thaw(self) -> None:
        """Returns once it can be written to again."""
        with self._lock:
            self._end.set()
            if self._thread is not None:
                self._thread.join()
                self._thread = None

    def _hold(self, end: Event, is_held: Event) -> None:
        # One thread from beginning to end, for a connection of SQLite belongs to its thread.
        with closing(sqlite3.connect(self._database, timeout=BUSY_SECONDS, isolation_level=None)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return
            is_held.set()
            end.wait(self._longest_seconds)
            db.execute("ROLLBACK")
