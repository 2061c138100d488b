"""One file of the spool: how it is written, locked and read.

A file begins with MAGIC; each entry is its length and CRC-32 (4 bytes each, big-endian) and its bytes. One
process appends to a file of its own, locked (flock) while it lives; a file that is not locked is a dead
process's, and whoever gets the lock drains it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from uuid import UUID

from service.log_lines import fields

MAGIC = b"siprec-ledger spool 1\n"
HEAD = struct.Struct(">II")
LARGEST_ENTRY = 16 * 1024 * 1024

log = logging.getLogger(__name__)


class OwnFile:
    """A file that this process appends to, and holds the lock of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counted = Counted(since(path))
        self._length = 0
        # It gets its name once it is locked, so that nobody takes it for a dead process's.
        unnamed = path.with_suffix(".new")
        self._descriptor = os.open(unnamed, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write(MAGIC)
            unnamed.rename(path)
            sync_folder(path.parent)
        except OSError:
            unnamed.unlink(missing_ok=True)
            os.close(self._descriptor)
            raise

    def append(self, entries: Sequence[bytes]) -> None:
        self._write(b"".join(HEAD.pack(len(entry), zlib.crc32(entry)) + entry for entry in entries))
        self.counted = Counted(self.counted.since, self.counted.entries + len(entries), self._length)

    def read(self) -> Iterator[bytes]:
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            yield from Reading(file)

    def is_in_place(self) -> bool:
        """Whether the path still leads to it; a removed file takes writes without a word."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._descriptor))
        except OSError:
            return False

    def close(self) -> None:
        os.close(self._descriptor)  # and the lock with it

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
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


class UnreadableFile(OSError):
    """The disk does not give it; perhaps later."""


class Reading:
    """The entries of an open file, up to its end or the first that is not whole. Raises UnreadableFile."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.count = 0
        self._offset = 0  # behind the last whole entry

    def __iter__(self) -> Iterator[bytes]:
        if self._read(len(MAGIC)) != MAGIC:
            return
        self._offset = len(MAGIC)
        while len(head := self._read(HEAD.size)) == HEAD.size:
            length, checksum = HEAD.unpack(head)
            entry = self._read(length) if length <= LARGEST_ENTRY else b""
            if len(entry) < length or zlib.crc32(entry) != checksum:
                return
            self._offset += HEAD.size + length
            self.count += 1
            yield entry

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise UnreadableFile(error.errno, error.strerror) from error

    @property
    def is_whole(self) -> bool:
        """After the last entry: whether there is nothing behind it."""
        return os.fstat(self._file.fileno()).st_size == self._offset


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[Reading | None]:
    """The file of a dead process, locked meanwhile; None if it is gone, locked, or not ours to read."""
    try:
        file = path.open("rb")
    except FileNotFoundError:  # drained by somebody else just now
        yield None
        return
    except OSError as error:
        log.error("a spool file cannot be read, it stays", extra=fields(file=path.name, error=error))
        yield None
        return
    with file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield Reading(file) if os.fstat(file.fileno()).st_nlink > 0 else None


@dataclass(frozen=True)
class Counted:
    """How many entries a file has up to `offset`, and since when it waits (Unix seconds)."""

    since: float
    entries: int = 0
    offset: int = len(MAGIC)

    def up_to_now(self, path: Path) -> Counted:
        """Counted on, by the heads alone. Raises OSError."""
        size = path.stat().st_size
        entries, offset = self.entries, self.offset
        if size <= offset:
            return self
        with path.open("rb") as file:
            while offset + HEAD.size <= size:
                file.seek(offset)
                following = offset + HEAD.size + HEAD.unpack(file.read(HEAD.size))[0]
                if following > size:
                    break
                entries, offset = entries + 1, following
        return replace(self, entries=entries, offset=offset)


def counted(path: Path, known: Counted | None) -> Counted:
    """Counted on from what is known. Raises FileNotFoundError.

    Of a file that cannot be read nobody can say what it holds, so that it waits has to be enough.
    """
    began = known if known and known.offset > len(MAGIC) else Counted(since(path))
    try:
        return began.up_to_now(path)
    except FileNotFoundError:
        raise
    except OSError:
        return replace(began, entries=max(1, began.entries))


def since(path: Path) -> float:
    """When the file was begun (Unix seconds): by its name, if that is one of ours. Raises OSError."""
    with contextlib.suppress(ValueError):
        name = UUID(path.stem)
        if name.version == 7:
            return (name.int >> 80) / 1000
    return path.stat().st_mtime


def listed(folder: Path, suffix: str) -> list[Path]:
    """Its files with this suffix, oldest first; none if there is no folder."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            if path.suffix == suffix and path.is_file():
                with contextlib.suppress(FileNotFoundError):
                    found.append((since(path), path))
    return [path for _, path in sorted(found)]


def size_of(folder: Path) -> int:
    """Bytes of all its files."""
    sizes = []
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
    return sum(sizes)


def make_folder(folder: Path) -> None:
    """The folder and all above it, each on the disk in the one above. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
