"""A log on local disk for what the database cannot take now: durable on return, drained by anybody.

A file begins with MAGIC; each record is its length and CRC-32 (4 bytes each, big-endian) and its bytes. One
process appends to a file of its own, locked (flock) while it lives; a file that is not locked is a dead
process's, and whoever gets the lock drains it. Names sort by age.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import UUID

from service.domain.ids import new_id

MAGIC = b"siprec-ledger spool 1\n"
HEAD = struct.Struct(">II")
LARGEST_RECORD = 16 * 1024 * 1024
BATCH = 64

log = logging.getLogger(__name__)


class SpoolUnusable(Exception):
    """It is full, or the folder cannot be written to. Nothing was kept."""


@dataclass(frozen=True)
class Depth:
    """What waits in the folder; `age` is of the oldest file, in seconds."""

    entries: int
    set_aside: int
    age: float | None


class Spool:
    """The spool of this process in `folder`, at most `limit` bytes with everybody's files."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._file: _File | None = None
        self._turn = threading.Lock()

    def check(self) -> None:
        """Raises SpoolUnusable if the folder cannot be made or written to."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            probe = _File(self._folder / f"{new_id()}.probe")
            probe.append([b"probe"])
            probe.remove()
        except OSError as trouble:
            raise SpoolUnusable(f"{self._folder}: {trouble.strerror}") from trouble

    def append(self, records: Sequence[bytes]) -> None:
        """On disk once this returns. Raises SpoolUnusable."""
        with self._turn:
            if self._size() + sum(map(len, records)) > self._limit:
                raise SpoolUnusable("the spool is full")
            try:
                self._append(records)
            except OSError as trouble:
                raise SpoolUnusable(f"{self._folder}: {trouble.strerror}") from trouble

    def drain(self, keep: Callable[[list[bytes]], None]) -> int:
        """Give the records of every file that nobody owns to `keep`, oldest first. How many went.

        A file is removed once `keep` has returned for all of it; a record may be given twice after a crash.
        What `keep` raises ends the draining, and the file stays.
        """
        self._seal()
        return sum(self._drain(path, keep) for path in self._files())

    def set_aside(self, record: bytes) -> None:
        """Keep a record that cannot be kept elsewhere, where nothing waits for it."""
        aside = _File(self._folder / f"{new_id()}.aside")
        aside.append([record])
        aside.close()

    def age(self) -> float | None:
        """Of the oldest file that waits, in seconds; None if there is none. Cheap."""
        file = self._file
        removed = 0.0 if file is not None and not file.is_in_place() else None
        return next((_age(path) for path in self._files()), removed)

    def depth(self) -> Depth:
        """Raises SpoolUnusable if nothing can be added."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as trouble:
            raise SpoolUnusable(f"{self._folder}: {trouble.strerror}") from trouble
        if not os.access(self._folder, os.W_OK) or self._size() >= self._limit:
            raise SpoolUnusable("the folder cannot be written to, or the spool is full")
        files = self._files()
        entries = sum(sum(1 for _ in _stored(path)) for path in files)
        aside = sum(1 for _ in self._folder.glob("*.aside"))
        return Depth(entries, aside, self.age())

    def close(self) -> None:
        """Let others drain what is left."""
        self._seal()

    def _append(self, records: Sequence[bytes]) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = _File(self._folder / f"{new_id()}.spool")
        elif not self._file.is_in_place():
            self._rescue()
        try:
            self._file.append(records)
        except OSError:
            # After a failed write or fsync the next one may lie. What was there before stays readable.
            self._file.close()
            self._file = None
            raise

    def _rescue(self) -> None:
        """Somebody removed our file, or its folder. We still have it open: write it down again."""
        lost, self._file = self._file, None
        assert lost is not None
        log.error("the spool was removed, and is written anew: %s", self._folder)
        try:
            self._append(lost.records())
        except OSError:
            self._file = lost  # there is nowhere else yet
            raise
        lost.close()

    def _seal(self) -> None:
        with self._turn:
            if self._file is not None and not self._file.is_in_place():
                self._rescue()
            if self._file is not None:
                self._file.close()
                self._file = None

    def _drain(self, path: Path, keep: Callable[[list[bytes]], None]) -> int:
        with _locked(path) as is_ours:
            if not is_ours:
                return 0
            count = 0
            for batch in _batches(_stored(path)):
                keep(batch)
                count += len(batch)
            if _is_whole(path):
                path.unlink(missing_ok=True)
            else:  # written half when its process died, or damaged since: a person may want to look at it
                log.error("spool file set aside, its end cannot be read: %s", path.name)
                path.rename(path.with_suffix(".aside"))
            _sync_folder(self._folder)
            return count

    def _files(self) -> list[Path]:
        try:
            return sorted(path for path in self._folder.iterdir() if path.suffix == ".spool")
        except FileNotFoundError:
            return []

    def _size(self) -> int:
        sizes = []
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        return sum(sizes)


class _File:
    """A file that this process appends to, and holds the lock of."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._length = 0
        # It gets its name once it is locked, so that nobody takes it for a dead process's.
        unnamed = path.with_suffix(".new")
        self._descriptor = os.open(unnamed, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write(MAGIC)
            unnamed.rename(path)
            _sync_folder(path.parent)
        except OSError:
            unnamed.unlink(missing_ok=True)
            os.close(self._descriptor)
            raise

    def append(self, records: Sequence[bytes]) -> None:
        self._write(b"".join(HEAD.pack(len(record), zlib.crc32(record)) + record for record in records))

    def records(self) -> list[bytes]:
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            return list(_records(file))

    def is_in_place(self) -> bool:
        """Whether the path still leads to it; a removed file takes writes without a word."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except OSError:
            return False

    def close(self) -> None:
        os.close(self._descriptor)  # and the lock with it

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
        self.close()

    def _write(self, content: bytes) -> None:
        """All of it and to the disk, or nothing."""
        left = content
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._length)
            raise
        self._length += len(content)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether the file is there and its lock was free; it is held meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:  # drained by somebody else just now
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield os.fstat(descriptor).st_nlink > 0
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _stored(path: Path) -> Iterator[bytes]:
    """The records of a file, up to its end or the first that is not whole."""
    try:
        with path.open("rb") as file:
            yield from _records(file)
    except FileNotFoundError:
        return


def _is_whole(path: Path) -> bool:
    read = sum(HEAD.size + len(record) for record in _stored(path))
    return path.stat().st_size == len(MAGIC) + read


def _records(file: IO[bytes]) -> Iterator[bytes]:
    if file.read(len(MAGIC)) != MAGIC:
        return
    while len(head := file.read(HEAD.size)) == HEAD.size:
        length, checksum = HEAD.unpack(head)
        record = file.read(length) if length <= LARGEST_RECORD else b""
        if len(record) < length or zlib.crc32(record) != checksum:
            return
        yield record


def _batches(records: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for record in records:
        batch.append(record)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _age(path: Path) -> float:
    milliseconds = UUID(path.stem).int >> 80  # its name is a UUIDv7
    return max(0.0, time.time() - milliseconds / 1000)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
