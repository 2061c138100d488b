"""The disk that a folder is on: how long it takes to sync, its room, and whether it outlives a restart."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import time
from pathlib import Path
from typing import Final

from service.domain.ids import new_id

TRIES: Final = 5
CONTENT: Final = b"\0" * 4096
MOUNTS: Final = Path("/proc/self/mountinfo")


def sync_seconds(folder: Path) -> float:
    """Of a small write, the median. Raises OSError."""
    path = folder / f"{new_id()}.probe"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    try:
        return statistics.median(_sync(descriptor) for _ in range(TRIES))
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _sync(descriptor: int) -> float:
    began = time.monotonic()
    os.write(descriptor, CONTENT)
    os.fsync(descriptor)
    return time.monotonic() - began


def free_bytes(folder: Path) -> int:
    """For who is not root. Raises OSError."""
    return shutil.disk_usage(folder).free


def kind(folder: Path) -> str | None:
    """Of the file system, as `ext4` or `tmpfs`; None where the system does not tell."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    resolved, found = folder.resolve(), None
    longest = -1
    for line in lines:
        before, _, after = line.partition(" - ")
        mounted = Path(_unescaped(before.split()[4]))
        if resolved.is_relative_to(mounted) and len(mounted.parts) >= longest:
            longest, found = len(mounted.parts), after.split()[0]
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
