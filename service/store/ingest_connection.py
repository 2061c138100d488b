"""The connection of what writes callbacks: its own, kept open, and used past SQLAlchemy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from service.store.connector import Connector
from service.store.database_kinds import DRIVER_ERRORS, DriverConnection
from service.store.errors import DatabaseConflict
from service.store.pool import until


@dataclass(frozen=True)
class IngestConnection:
    """What stands for SQLAlchemy's connection, where only the driver's is needed."""

    driver_connection: Any
    is_postgresql: bool


class Keeper:
    """Keeps one connection, and lends it to one at a time."""

    def __init__(self, connector: Connector, is_fit: Callable[[Any], bool]) -> None:
        self._connector = connector
        self._is_fit = is_fit
        self._kept: DriverConnection | None = None
        self._lock = threading.Lock()

    @contextmanager
    def lent(self, deadline: float) -> Iterator[DriverConnection]:
        """What was begun on it and did not end well is undone."""
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise DatabaseConflict("the ingest connection is in use")
        try:
            connection = self._fit_one(deadline)
            try:
                yield connection
            except BaseException:
                self._undo(connection)
                raise
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._forget()

    def _fit_one(self, deadline: float) -> DriverConnection:
        if self._kept is not None and not (self._is_fit(self._kept) and self._kept.is_writable):
            self._forget()
        if self._kept is None:
            with until(deadline):
                self._kept = self._connector()
        assert self._kept is not None
        return self._kept

    def _undo(self, connection: DriverConnection) -> None:
        try:
            connection.rollback()
        except DRIVER_ERRORS:
            self._forget()

    def _forget(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()
