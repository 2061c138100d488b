"""What /metrics asks the database, kept for a moment."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from service.log_lines import fields
from service.store import conditions
from service.store.conditions import Conditions
from service.store.engine import Database, DatabaseError

KEPT_SECONDS: Final = 3.0

log = logging.getLogger(__name__)


class RecentConditions:
    """What the database said, for KEPT_SECONDS: who asks often does not ask it more often."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Conditions | None = None
        self._read_at = -KEPT_SECONDS  # monotonic

    def of(self, database: Database) -> Conditions | None:
        """None where it does not answer."""
        with self._lock:
            if time.monotonic() - self._read_at >= KEPT_SECONDS:
                self._found = _ask(database)
                self._read_at = time.monotonic()
            return self._found


def _ask(database: Database) -> Conditions | None:
    try:
        with database.read() as db:
            return conditions.of(db)
    except DatabaseError as error:
        log.warning("metrics without what the database says", extra=fields(error=error))
        return None
