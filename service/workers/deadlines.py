"""Notices what did not happen, in a thread of every web process."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from service.ledger.backlog import Backlog
from service.ledger.sessions import Sessions
from service.store.engine import DatabaseUnavailable

log = logging.getLogger(__name__)


class Deadlines:
    """Looks every `interval`; start it after the fork."""

    def __init__(self, sessions: Sessions, backlog: Backlog, interval: timedelta) -> None:
        self._sessions = sessions
        self._backlog = backlog
        self._interval = interval.total_seconds()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            try:
                self.look()
            except DatabaseUnavailable as trouble:
                log.warning("the watch finds no database: %s", trouble)
            except Exception:  # a watch that dies is noticed by nobody
                log.exception("the watch stumbled, and goes on")

    def look(self) -> None:
        """Once. Raises DatabaseUnavailable."""
        self._backlog.save_pending(self._sessions.save_answer)
        given_up = self._sessions.expire()
        if given_up:
            log.warning("sessions became unanswered: count=%d", given_up)
