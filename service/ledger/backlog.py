"""What could not be written yet, callbacks and Telnyx's answers alike, on local disk; and dead letters."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from service.ledger.spool_entry import Entry, Reason, UnreadableEntry, UnsavedAnswer, pack, plain, unpack
from service.log_lines import fields
from service.spool import Depth, Spool, SpoolUnusable, Write
from service.spool.spool import DAMAGED, DEAD

MOST_IN_MEMORY: Final = 10_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeadLetter:
    """An entry that the database will not take, or a file (`entry` is None) whose end cannot be read."""

    path: Path
    reason: Reason | None
    entry: Entry | bytes | None

    def shown(self, *, with_entry: bool = True) -> dict[str, Any]:
        """As a JSON document; what it holds is evidence."""
        entry = self.entry if with_entry else None
        return {
            "file": self.path.name,
            "failed_at": self.reason.failed_at.isoformat() if self.reason else None,
            "reason": self.reason.text if self.reason else "its end cannot be read",
            "entry": entry.decode("latin-1") if isinstance(entry, bytes) else plain(entry),
        }


class Backlog:
    """Without a spool (`SPOOL=off`) only answers are kept, in memory."""

    def __init__(self, spool: Spool | None) -> None:
        self._spool = spool
        self._unsaved: deque[UnsavedAnswer] = deque()

    @property
    def has_spool(self) -> bool:
        return self._spool is not None

    def check(self) -> None:
        """Raises SpoolUnusable if there is a spool whose folder cannot be written to."""
        if self._spool is not None:
            self._spool.check()
            self._spool.identify()

    def try_spool(self) -> None:
        """Write something to its disk, of which nothing is left. Raises SpoolUnusable."""
        if self._spool is None:
            raise SpoolUnusable("there is no spool")
        self._spool.check()

    @property
    def spool_id(self) -> str | None:
        """Of the spool's folder; None without one, and before `check`."""
        return self._spool.id if self._spool is not None else None

    def is_last(self) -> bool:
        """Whether no other process uses the spool, as this one does not any more."""
        return self._spool is not None and self._spool.is_last()

    def save(self, entries: Sequence[Entry]) -> None:
        """On disk once this returns. Raises SpoolUnusable."""
        if self._spool is None:
            raise SpoolUnusable("there is no spool")
        self._spool.append([pack(entry) for entry in entries])

    def save_later(self, answer: UnsavedAnswer) -> None:
        """On disk if that can be, else in memory, where it is lost with the process."""
        try:
            self.save([answer])
        except SpoolUnusable as error:
            self._remember(answer, error)

    def _remember(self, answer: UnsavedAnswer, error: SpoolUnusable) -> None:
        if len(self._unsaved) >= MOST_IN_MEMORY:
            named = fields(session_id=answer.session_id, error=error)
            log.error("answer lost, there are too many in memory", extra=named)
            return
        log.error("answer kept in memory only", extra=fields(session_id=answer.session_id, error=error))
        self._unsaved.append(answer)

    def save_remembered(self, save: Callable[[UnsavedAnswer], bool]) -> None:
        """Give the answers in memory to `save`, until it raises; those of which it says False stay."""
        for _ in range(len(self._unsaved)):
            if save(self._unsaved[0]):
                self._unsaved.popleft()
            else:
                self._unsaved.rotate(-1)

    def depth(self) -> Depth | None:
        """What the spool holds, from memory; None if there is none."""
        return self._spool.depth() if self._spool is not None else None

    @property
    def is_surveyed(self) -> bool:
        """Whether what was in the folder at the start is counted."""
        return self._spool is not None and self._spool.is_surveyed

    @property
    def is_waiting(self) -> bool:
        """Whether there is anything to drain."""
        depth = self.depth()
        return bool(self._unsaved) or (depth is not None and depth.age is not None)

    def survey(self) -> None:
        """Count what other processes left."""
        if self._spool is not None:
            self._spool.survey()

    def drain(self, write: Write, may_seal: Callable[[], bool]) -> int:
        """Give what waits on disk to `write`, file by file; see Spool.drain."""
        return self._spool.drain(write, may_seal) if self._spool is not None else 0

    def add_dead_letter(self, packed: bytes, why: Exception) -> None:
        """Make a dead letter of an entry. Raises OSError."""
        assert self._spool is not None  # where else would it come from
        reason = Reason(datetime.now(UTC), f"{type(why).__name__}: {why}")
        path = self._spool.add_dead_letter([packed, pack(reason)])
        log.error("dead letter", extra=fields(file=path.name, error=why))

    def dead_letters(self) -> list[DeadLetter]:
        if self._spool is None:
            return []
        dead = [self._dead_letter(path) for path in self._spool.files(DEAD)]
        return dead + [DeadLetter(path, None, None) for path in self._spool.files(DAMAGED)]

    def _dead_letter(self, path: Path) -> DeadLetter:
        assert self._spool is not None
        found: list[Entry | bytes] = []
        for packed in self._spool.read(path):
            try:
                found.append(unpack(packed))
            except UnreadableEntry:
                found.append(packed)
        reason = next((one for one in found if isinstance(one, Reason)), None)
        return DeadLetter(path, reason, found[0] if found else None)

    def retry(self) -> int:
        """Let all dead letters wait again. How many. Raises OSError."""
        count = self._spool.retry() if self._spool is not None else 0
        if count:
            log.info("dead letters will be tried again", extra=fields(count=count))
        return count

    def close(self) -> None:
        """Let other processes drain what is left, and what was in memory if the disk takes it now."""
        if self._spool is None:
            return
        with contextlib.suppress(SpoolUnusable):
            if self._unsaved:
                self.save(list(self._unsaved))
                self._unsaved.clear()
        self._spool.close()
