"""The id of a spool's folder, kept in the folder; and whether another process uses the folder."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path
from typing import Final
from uuid import UUID

from service.domain.ids import new_id
from service.log_lines import fields
from service.spool.files import sync_folder

NAME: Final = "spool.id"

log = logging.getLogger(__name__)


class Identity:
    """Of a folder that exists. While it is open, others know that this process uses the folder."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        path = folder / NAME
        self.id = _read(path) or _make(path)
        self._descriptor = os.open(path, os.O_RDONLY)
        # Never waits: who has it alone is ending, and does so in a moment.
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def is_last(self) -> bool:
        """Whether no other process uses the folder. From now on this one is not counted any more.

        Of several that end at once it is true for one: whoever is refused has lost its own lock by then.
        """
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def close(self) -> None:
        os.close(self._descriptor)


def _read(path: Path) -> str | None:
    try:
        return str(UUID(path.read_text(encoding="ascii").strip()))
    except FileNotFoundError:
        return None
    except ValueError:  # it is only ever made whole: somebody else wrote there
        log.error("the id of the spool cannot be read, it gets another", extra=fields(file=path))
        path.unlink(missing_ok=True)
        return None


def _make(path: Path) -> str:
    """The id that it has then: of two processes that make one at once, the first one's."""
    made = new_id()
    unnamed = path.with_name(f"{made}.new")
    try:
        descriptor = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, made.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(unnamed, path)
    finally:
        unnamed.unlink(missing_ok=True)
    sync_folder(path.parent)
    return _read(path) or made
