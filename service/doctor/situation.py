"""What the checks look at: the settings and, by way of them, all else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from service import config
from service.config import Settings
from service.store.backup import sqlite_file
from service.store.engine import Database

# As long as an app may wait for an answer, and a moment.
LONGEST_WAIT_SECONDS = 21.0


@dataclass
class Situation:
    """`connectors` are to be looked at beside those in use, and whether sessions on them are secure."""

    connectors: Mapping[str, bool] = field(default_factory=dict)
    longest_wait_seconds: float = LONGEST_WAIT_SECONDS
    _opened: list[Database] = field(default_factory=list)

    @cached_property
    def settings(self) -> Settings:
        """Raises WrongConfiguration."""
        return config.load()

    @cached_property
    def database(self) -> Database:
        database = Database(self.settings.DATABASE_URL.get_secret_value())
        self._opened.append(database)
        return database

    def is_file_there(self) -> bool:
        """SQLite's, asked before it is opened, which would make it; true on PostgreSQL."""
        file = sqlite_file(self.settings.DATABASE_URL.get_secret_value())
        return file is None or file.exists()

    def close(self) -> None:
        for database in self._opened:
            database.close()
