"""The folder in which the worker processes of one gunicorn share what they count.

Standard library only: gunicorn's master imports this, and must not import prometheus_client.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own; it is read when that is imported
PREFIX: Final = "siprec-ledger-metrics-"
OWNED: Final = "owned"  # locked while a process of its gunicorn lives
CHANGING: Final = "changing"  # locked while files are read, or made one
# Of the library, those of `service.metrics`.
KINDS: Final = ("counter", "histogram", "gauge_livesum", "gauge_livemin", "gauge_livemax")
# Each file of a worker is written in full before it is mapped. A hole in it would kill the process
# (SIGBUS) if the disk were full when something is counted there first.
SIZE: Final = 128 * 1024
BURY_SECONDS: Final = 0.2  # the master waits no longer for somebody who reads

_owned: list[int] = []  # descriptors, which the workers inherit


def make() -> Path | None:
    """In the master, before the first fork: a new one, empty, named in the environment.

    In memory where that can be, so that a disk that hangs keeps nobody from counting. None where there is no
    place: then each process counts by itself. What killed ones left is removed.
    """
    os.environ.pop(VARIABLE, None)  # of another gunicorn: it started this one (USR2)
    shared = Path("/dev/shm")  # noqa: S108 (a folder of a random name, for us alone)
    parent = shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    with suppress(OSError):
        _remove_left(parent)
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        (folder / CHANGING).touch()
        _owned.append(_lock(folder / OWNED))
    except OSError:
        return None
    os.environ[VARIABLE] = str(folder)
    return folder


def prepare(pid: int) -> bool:
    """In a new worker, before prometheus_client is imported. Whether its files are there, and whole."""
    folder = current()
    if folder is None:
        return False
    files = [folder / f"{kind}_{pid}.db" for kind in KINDS]
    try:
        for file in files:
            file.write_bytes(bytes(SIZE))
    except OSError:
        for file in files:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        del os.environ[VARIABLE]
        return False
    return True


def bury(pid: int) -> None:
    """In the master, when a worker has ended: what it counted stays, what it measured goes.

    As the library's `mark_process_dead`, but for the names: a later process may get the same id.
    """
    folder = current()
    if folder is None:
        return
    with suppress(OSError), locked(folder, shared=False, seconds=BURY_SECONDS):
        for file in folder.glob(f"gauge_*_{pid}.db"):
            file.unlink()
        for kind in ("counter", "histogram"):
            file = folder / f"{kind}_{pid}.db"
            if file.exists():
                file.rename(_free_name(folder, kind))


def remove() -> None:
    """When the master ends."""
    folder = current()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def current() -> Path | None:
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


@contextmanager
def locked(folder: Path, *, shared: bool, seconds: float | None = None) -> Iterator[None]:
    """While files are read (`shared`), or change: then nobody reads. After so many seconds go on without."""
    with (folder / CHANGING).open("rb") as file:
        operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        if seconds is None:
            fcntl.flock(file, operation)
        else:
            _try_for(seconds, file.fileno(), operation)
        yield


def _try_for(seconds: float, descriptor: int, operation: int) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
            return
        time.sleep(0.01)


def _free_name(folder: Path, kind: str) -> Path:
    number = 1
    while (free := folder / f"{kind}_dead{number}.db").exists():
        number += 1
    return free


def _lock(path: Path) -> int:
    """Raises BlockingIOError if somebody lives who has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_left(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        if folder.stat().st_uid != os.getuid() or not (folder / OWNED).exists():
            continue
        with suppress(OSError):
            os.close(_lock(folder / OWNED))
            shutil.rmtree(folder, ignore_errors=True)
