"""When each secret of a key was used last: kept in memory, and written once in a while."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import Final

from service.log_lines import fields
from service.store import keys
from service.store.engine import Database, DatabaseError

END_SECONDS: Final = 0.5

log = logging.getLogger(__name__)


class LastUsed:
    """Of the secrets that this process let in. Others may know of later uses: the latest is kept."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._used: dict[str, datetime] = {}  # by the secret's id
        self._saved: dict[str, datetime] = {}

    def use(self, secret_id: str, now: datetime) -> None:
        """Any thread may; it never waits."""
        self._used[secret_id] = now

    def run_once(self, _now: datetime) -> None:
        """Raises DatabaseError; what could not be written is, the next time."""
        self._save(None)

    def end(self) -> None:
        """Once more, if the database takes it in time."""
        try:
            self._save(time.monotonic() + END_SECONDS)
        except DatabaseError as error:
            log.warning("when keys were used last was not written", extra=fields(error=error))

    def _save(self, deadline: float | None) -> None:
        new = {id: at for id, at in self._used.copy().items() if self._saved.get(id) != at}
        if not new or not self._database.breaker.takes_writes:
            return
        with self._database.begin(deadline) as db:
            saved = keys.save_last_used(db, new)
        self._saved |= {id: new[id] for id in saved}
