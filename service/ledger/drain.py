"""Writes what waits in the backlog, and finds out what the database will never take."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from service.domain.callback import Callback
from service.ledger.backlog import Backlog
from service.ledger.errors import UnknownSession
from service.ledger.file_drain import FileDrain, digest, digests
from service.ledger.ingest import Ingest
from service.ledger.spool_entry import UnreadableEntry, UnsavedAnswer, unpack
from service.log_lines import fields
from service.store.engine import (
    Database,
    DatabaseConflict,
    DatabaseUnavailable,
    DatabaseUnready,
    RecordRefused,
    Server,
)

BATCH: Final = 64
SQLITE_BATCH: Final = 4  # nobody in the background holds the write lock for long
WRITE_SECONDS: Final = 2.0
FAILURES_ALONE: Final = 4  # of one entry, each while the database took another
ALONE_IN_A_ROW: Final = 3  # of different entries, and it is not the entries
MOST_TOLERATED: Final = 16  # enough to come from a batch to one entry and the next
MOST_REMEMBERED: Final = 100_000  # entries that were committed, about 10 MB; more are written again

GUILTY: Final = (RecordRefused, UnreadableEntry, UnknownSession)
# Somebody else's lock may be held for long, and a disk that is full may still take what is smaller.
INNOCENT: Final = (DatabaseConflict, DatabaseUnready)

log = logging.getLogger(__name__)


class SaveAnswer(Protocol):
    def __call__(self, unsaved: UnsavedAnswer, *, is_probe: bool) -> tuple[object, Server | None]: ...


@dataclass(frozen=True)
class Suspect:
    """An entry that failed alone, `failures` times of these while the database took others.

    `live_commits` is what the intake had committed the last time, at `tried_at` (monotonic).
    """

    failures: int = 0
    live_commits: int = -1
    tried_at: float = 0.0


class Drain:
    """One thread's. `live_commits` counts what the intake has committed."""

    def __init__(
        self,
        backlog: Backlog,
        database: Database,
        ingest: Ingest,
        save_answer: SaveAnswer,
        live_commits: Callable[[], int],
    ) -> None:
        self._backlog = backlog
        self._database = database
        self._ingest = ingest
        self._save_answer = save_answer
        self._live_commits = live_commits
        self._batch = SQLITE_BATCH if database.is_sqlite else BATCH
        self._suspects: dict[bytes, Suspect] = {}  # by digest
        self._files: dict[Path, FileDrain] = {}  # that are still there
        self._tolerated = 0  # how often the database may fail in a round before the round ends
        # of this round
        self._may_probe = False
        self._failures = self._alone = 0

    def run(self, may_seal: Callable[[], bool] = lambda: True, *, may_probe: bool = False) -> int:
        """One round over all that waits, oldest first. How many entries went.

        What the database does not take stays, and is tried again in the next round. `may_probe`: whoever
        calls holds the breaker's probe. Raises DatabaseUnavailable, and whatever else fails for every entry.
        """
        self._may_probe, self._failures, self._alone = may_probe, 0, 0
        try:
            self._backlog.save_remembered(self._save_remembered)
            return self._backlog.drain(self._write_file, may_seal)
        finally:
            # A round that fails lets the next one look closer, should it be one entry that always fails.
            self._tolerated = min(self._tolerated + 1, MOST_TOLERATED) if self._failures else 0
            self._files = {path: file for path, file in self._files.items() if _may_exist(path)}
            if not self._backlog.is_waiting:
                self._suspects.clear()

    def _write_file(self, path: Path, entries: Iterator[bytes]) -> bool:
        """Whether all of it was committed, on one server that is the primary still."""
        file = self._files.setdefault(path, FileDrain())
        file.begin_round(self._database.current_server())
        suspects: dict[bytes, bytes] = {}  # by digest
        while read := list(islice(entries, self._batch)):
            batch = [packed for packed in read if not file.is_settled(packed)]
            if self._suspects:
                suspects |= {known: one for one in batch if (known := digest(one)) in self._suspects}
                batch = [packed for packed in batch if digest(packed) not in self._suspects]
            self._write(file, batch)
        for known in sorted(suspects, key=lambda one: self._suspects.get(one, Suspect()).tried_at):
            self._write(file, [suspects[known]])  # each alone, so as to know whose fault it is
        if self._database.current_server() != file.server:
            self._changed_primary(file)
        return not file.has_waiting

    def _changed_primary(self, file: FileDrain) -> None:
        if not file.has_changed_primary:
            log.warning("the primary changed while the spool was drained, will drain again")
        file.has_changed_primary = file.has_waiting = True

    def _write(self, file: FileDrain, batch: Sequence[bytes]) -> None:
        """The entries, by halves where they fail together."""
        if file.is_stuck:
            file.has_waiting = True
            return
        try:
            self._commit(file, batch)
        except Exception as error:
            if len(batch) == 1:
                self._failed_alone(file, batch[0], error)
                return
            self._raise_if_unavailable(error)
            log.warning("batch failed, retrying by halves", extra=fields(count=len(batch), error=error))
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                self._write(file, half)

    def _commit(self, file: FileDrain, batch: Sequence[bytes]) -> None:
        entries = [unpack(packed) for packed in batch]
        callbacks = [entry for entry in entries if isinstance(entry, Callback)]
        servers: set[Server | None] = set()
        if callbacks:
            servers.add(self._write_callbacks(callbacks))
        for answer in (entry for entry in entries if isinstance(entry, UnsavedAnswer)):
            servers.add(self._save_answer(answer, is_probe=self._is_probe)[1])
        for known in digests(batch) if self._suspects else ():
            self._suspects.pop(known, None)
        if servers - {file.server}:
            self._changed_primary(file)
        elif sum(len(each.committed) for each in self._files.values()) + len(batch) <= MOST_REMEMBERED:
            file.committed |= digests(batch)

    def _write_callbacks(self, callbacks: Sequence[Callback]) -> Server | None:
        is_probe = self._is_probe
        deadline = time.monotonic() + WRITE_SECONDS
        try:
            server = self._ingest.write(callbacks, deadline, is_probe=is_probe)
        except RecordRefused:
            if len(callbacks) > 1:
                raise
            server = self._ingest.write_refused(callbacks[0], deadline, is_probe=is_probe)
        self._alone = 0
        return server

    @property
    def was_unavailable(self) -> bool:
        """Whether the database was, for something that the last round tried."""
        return self._failures > 0

    @property
    def _is_probe(self) -> bool:
        return self._may_probe and not self._database.breaker.takes_writes

    def _failed_alone(self, file: FileDrain, packed: bytes, error: Exception) -> None:
        """Make a dead letter of what is guilty; let the rest wait, unless it alone fails all the time."""
        if isinstance(error, GUILTY) or self._always_fails(packed, error):
            self._make_dead_letter(file, packed, error)
            return
        file.has_waiting = True
        self._raise_if_unavailable(error)
        if isinstance(error, DatabaseConflict):
            file.locked += 1
            return
        self._alone += 1
        if self._alone >= ALONE_IN_A_ROW:
            raise error

    def _make_dead_letter(self, file: FileDrain, packed: bytes, why: Exception) -> None:
        try:
            self._backlog.add_dead_letter(packed, why)
        except OSError as error:  # a full disk, in which draining the others makes room
            log.error("dead letter not kept, it waits: %s", why, extra=fields(error=error))
            file.has_waiting = True
            return
        self._suspects.pop(digest(packed), None)
        file.dead.add(digest(packed))

    def _always_fails(self, packed: bytes, error: Exception) -> bool:
        """Whether it has failed often enough by itself, while the database took others."""
        known = digest(packed)
        before, live_commits = self._suspects.get(known), self._live_commits()
        suspect = before or Suspect()
        is_own = not isinstance(error, INNOCENT)
        takes_others = is_own and (
            -1 < suspect.live_commits < live_commits or (before is not None and self._takes_another())
        )
        suspect = Suspect(suspect.failures + takes_others, live_commits, time.monotonic())
        self._suspects[known] = suspect
        return suspect.failures >= FAILURES_ALONE

    def _takes_another(self) -> bool:
        """Whether the database takes a new callback: to pass over one that is stored, nothing is inserted."""
        try:
            self._ingest.try_out(time.monotonic() + WRITE_SECONDS, is_probe=self._is_probe)
        except Exception as error:
            log.warning("no other callback is taken either", extra=fields(error=error))
            return False
        self._alone = 0
        return True

    def _raise_if_unavailable(self, error: Exception) -> None:
        """Raise it if it is the database's, and there is no reason yet to think that it is the entry's."""
        if isinstance(error, DatabaseConflict):
            if self._database.is_sqlite:  # there all have one lock
                raise error
        elif isinstance(error, DatabaseUnavailable):
            self._failures += 1
            can_try = self._may_probe or self._database.breaker.takes_writes
            if self._failures > self._tolerated or not can_try:
                raise error

    def _save_remembered(self, answer: UnsavedAnswer) -> bool:
        try:
            server = self._save_answer(answer, is_probe=self._is_probe)[1]
            if server != self._database.current_server():
                log.warning(
                    "the primary changed, will save again", extra=fields(session_id=answer.session_id)
                )
                return False
            log.info("answer saved", extra=fields(session_id=answer.session_id))
        except DatabaseUnavailable:
            raise
        except (RecordRefused, UnknownSession) as error:  # its session will be unanswered
            log.error("answer given up", extra=fields(session_id=answer.session_id, error=error))
        except Exception:  # what waits on disk is not to wait for it
            log.exception("answer not saved, will try again", extra=fields(session_id=answer.session_id))
            return False
        return True


def _may_exist(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the folder cannot be read just now
        return True
