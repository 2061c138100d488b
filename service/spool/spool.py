"""The spool's folder: what this process appends, what anybody's files hold, and what is set apart."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from service.domain.ids import new_id
from service.log_lines import fields
from service.spool.files import (
    Counted,
    OwnFile,
    Reading,
    UnreadableFile,
    claimed,
    counted,
    listed,
    make_folder,
    size_of,
    sync_folder,
)
from service.spool.identity import Identity

WAITING: Final = ".spool"
DEAD: Final = ".dead"  # dead letters, one in each file
DAMAGED: Final = ".damaged"  # files whose end cannot be read
RESCUED_AT_ONCE: Final = 1000  # entries, lest all of a large file is in memory
SEAL_SECONDS: Final = 1.0

log = logging.getLogger(__name__)

Write = Callable[[Path, Iterator[bytes]], bool]


class SpoolUnusable(Exception):
    """It is full, or the folder cannot be written to. Nothing was kept."""


@dataclass(frozen=True)
class Depth:
    """What waits in the folder; `age` is of the oldest file, in seconds, None if nothing waits."""

    entries: int
    dead_letters: int
    age: float | None
    is_usable: bool  # whether it can take more


class Spool:
    """The spool of this process in `folder`, at most `limit` bytes with everybody's files.

    What `depth` says costs no disk: it is counted along, and for the files of others by `survey`.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self._limit = limit
        self._file: OwnFile | None = None
        self._turn = threading.Lock()
        self._others: dict[Path, Counted] = {}
        self._dead_letters, self.is_surveyed = 0, False  # until then what others left is not counted
        self._stuck: set[Path] = set()  # drained files that could not be removed
        self._identity: Identity | None = None
        self._missing: int | None = None  # bytes that the last append found no room for; None: it took them

    def check(self) -> None:
        """Raises SpoolUnusable if the folder cannot be made or written to."""
        with self._named():
            make_folder(self.folder)
            probe = OwnFile(self.folder / f"{new_id()}.probe")
            probe.append([b"probe"])
            probe.remove()

    def identify(self) -> None:
        """From now on others know that this process uses the folder. Raises SpoolUnusable."""
        with self._named():
            make_folder(self.folder)
            self._identity = Identity(self.folder)

    @property
    def id(self) -> str | None:
        """The folder's, the same for ever and for every process; None before `identify`."""
        return self._identity.id if self._identity else None

    def is_last(self) -> bool:
        """Whether no other process uses the folder, as this one does not any more."""
        return self._identity is not None and self._identity.is_last()

    def append(self, entries: Sequence[bytes]) -> None:
        """On disk once this returns. Raises SpoolUnusable."""
        size = sum(map(len, entries))
        with self._turn:
            try:
                self._check_room(size)
                with self._named():
                    self._append(entries)
            except SpoolUnusable:
                self._missing = size
                raise
            self._missing = None

    def drain(self, write: Write, may_seal: Callable[[], bool] = lambda: True) -> int:
        """Give every file that nobody owns, and its entries, to `write`, oldest file first. How many went.

        Our own is among them if `may_seal`, which is asked while nothing is appended.
        A file is removed once `write` says True for all of it; an entry may be given again after a crash, or
        if the file cannot be removed.
        What `write` raises ends the draining, and the file stays.
        """
        with self._reported():
            self._seal(may_seal)
        waiting: list[Path] = []
        with self._reported(), self._named():
            waiting = self.files(WAITING)
        self._stuck &= set(waiting)
        return sum(self._drain(path, write) for path in waiting)

    def add_dead_letter(self, entries: Sequence[bytes]) -> Path:
        """Keep what nobody can take in a file of its own, until `retry`. Raises OSError."""
        path = self.folder / f"{new_id()}{DEAD}"
        file = OwnFile(path)
        try:
            file.append(entries)
        except OSError:
            file.remove()
            raise
        file.close()
        self._dead_letters += 1
        return path

    def retry(self) -> int:
        """Let everything that was set apart wait again. How many files. Raises OSError."""
        found = [*self.files(DEAD), *self.files(DAMAGED)]
        for path in found:
            self._rename(path, WAITING)
        if found:
            sync_folder(self.folder)
        return len(found)

    def read(self, path: Path) -> list[bytes]:
        """The entries of one of `files`, which stays as it is; none if it is gone."""
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            return list(Reading(file))
        return []

    def survey(self) -> None:
        """Count what is in the folder, and try whether it can be written to again."""
        with self._reported(), self._named():
            self._survey()

    def _survey(self) -> None:
        known, found = self._others, dict[Path, Counted]()
        for path in self.files(WAITING):
            if self._file is None or path != self._file.path:
                with contextlib.suppress(FileNotFoundError):
                    found[path] = counted(path, known.get(path))
        new = {path: one for path, one in self._others.items() if path not in known}  # left meanwhile
        self._others = new | found
        self._dead_letters = len(self.files(DEAD)) + len(self.files(DAMAGED))
        self.is_surveyed = True
        # While somebody appends, it is for him to find out: he may hang with the disk, and so would we.
        is_appending = self._turn.locked()
        if (
            self._missing is not None
            and not is_appending
            and size_of(self.folder) + self._missing <= self._limit
        ):
            with contextlib.suppress(SpoolUnusable):
                self.check()
                self._missing = None

    def depth(self) -> Depth:
        """From memory."""
        file, waiting = self._file, list(self._others.values())
        if file is not None:
            waiting.append(file.counted)
        entries = sum(one.entries for one in waiting)
        age = max(0.0, time.time() - min(one.since for one in waiting)) if waiting else None
        return Depth(entries, self._dead_letters, age, is_usable=self._missing is None)

    def files(self, suffix: str) -> list[Path]:
        """Those of the folder with this suffix, oldest first; none if there is no folder."""
        return listed(self.folder, suffix)

    def close(self) -> None:
        """Let others drain what is left."""
        with self._reported():
            self._seal()

    def _append(self, entries: Sequence[bytes]) -> None:
        if self._file is None:
            make_folder(self.folder)
            self._file = OwnFile(self.folder / f"{new_id()}{WAITING}")
        elif not self._file.is_in_place():
            self._rescue(self._file)
        try:
            self._file.append(entries)
        except OSError:
            # After a failed write or fsync the next one may lie. What was there before stays readable.
            self._leave()
            raise

    def _check_room(self, size: int) -> None:
        if size_of(self.folder) + size > self._limit:
            raise SpoolUnusable("the spool is full")

    def _rescue(self, lost: OwnFile) -> None:
        """Somebody removed our file, or its folder. We still have it open: write it down again."""
        log.error("the spool was removed, writing it again", extra=fields(folder=self.folder))
        make_folder(self.folder)
        again, entries = OwnFile(self.folder / f"{new_id()}{WAITING}"), lost.read()
        try:
            while some := list(islice(entries, RESCUED_AT_ONCE)):
                again.append(some)
        except OSError:
            again.remove()  # or half of it would be drained, and half of it again after the next try
            raise
        self._file = again
        lost.close()

    def _seal(self, may_seal: Callable[[], bool] = lambda: True) -> None:
        # Whoever appends may be stuck with the disk; nobody else is to be stuck with him.
        if not self._turn.acquire(timeout=SEAL_SECONDS):
            raise SpoolUnusable("it is being written to for long")
        try:
            with self._named():
                if self._file is not None and not self._file.is_in_place():
                    self._rescue(self._file)
                if may_seal():
                    self._leave()
        finally:
            self._turn.release()

    def _leave(self) -> None:
        if self._file is not None:
            left = self._file
            self._others = {**self._others, left.path: left.counted}
            self._file = None  # only now: counted twice for a moment, and never not at all
            left.close()

    def _drain(self, path: Path, write: Write) -> int:
        with claimed(path) as reading:
            try:
                if reading is None or not write(path, iter(reading)):
                    return 0
            except UnreadableFile as error:  # other files are not to wait for it
                log.error("a spool file cannot be read, it stays", extra=fields(file=path.name, error=error))
                return 0
            try:
                self._remove(path, is_whole=reading.is_whole)
            except OSError as error:  # what it holds is written
                if path not in self._stuck:
                    log.error("a drained file cannot be removed", extra=fields(file=path.name, error=error))
                self._stuck.add(path)
                return 0
            self._others = {other: one for other, one in self._others.items() if other != path}
            return reading.count

    def _remove(self, path: Path, *, is_whole: bool) -> None:
        if is_whole:
            path.unlink(missing_ok=True)
        else:  # written half when its process died, or damaged since: a person may want to look at it
            self._rename(path, DAMAGED)
            log.error("the end of a spool file cannot be read, it is kept", extra=fields(file=path.name))
            self._dead_letters += 1
        sync_folder(self.folder)

    def _rename(self, path: Path, suffix: str) -> None:
        target = path.with_suffix(suffix)
        with contextlib.suppress(FileNotFoundError):  # somebody else did
            path.rename(target.with_stem(new_id()) if target.exists() else target)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """What is wrong with the folder is for `depth` to say; there may be other files, and a database."""
        try:
            yield
        except SpoolUnusable as error:
            log.error("the spool cannot be used", extra=fields(error=error))
            self._missing = self._missing or 0

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SpoolUnusable(f"{self.folder}: {error.strerror}") from error
