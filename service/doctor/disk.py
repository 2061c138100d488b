"""Whether the spool can be written to, fast and for good, and whether its disk has room."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from service.doctor.check import Finding, ok, skipped, warning, wrong
from service.doctor.situation import Situation
from service.spool import Spool, SpoolUnusable, disk
from service.spool.files import size_of
from service.watch_settings import Use

MIB: Final = 1024 * 1024
LEAST_FREE: Final = 64 * MIB
SLOW_SECONDS: Final = 0.1
TOO_SLOW_SECONDS: Final = 0.6  # between 0.8 s, when a callback is given to it, and 1.45 s, when it is late
LOCAL: Final = "Set SPOOL_DIR to a folder on a local disk."
FORGETFUL: Final = {"tmpfs", "ramfs"}
REMOTE: Final = {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs"}


def spool(situation: Situation) -> Finding:
    """It is there, takes writes, and keeps them."""
    folder = _folder(situation)
    if folder is None:
        return ok("SPOOL is off: without the database callbacks are answered 503.")
    if not folder.is_dir():
        return wrong("SPOOL_DIR is no folder.", "Make it, as the service's user, or start the service.")
    if folder.stat().st_uid != os.geteuid():
        return warning("SPOOL_DIR is another user's.", "Run the doctor as the user that the service runs as.")
    try:
        Spool(folder, situation.settings.SPOOL_LIMIT_MB * MIB).check()
        seconds = disk.sync_seconds(folder)
    except (SpoolUnusable, OSError) as error:
        return wrong(f"It cannot be written to: {error}.", "Let the service's user write there.")
    return _judged(disk.kind(folder), seconds)


def _judged(kind: str | None, seconds: float) -> Finding:
    took = f"To sync a write takes {seconds * 1000:.1f} ms" + (f", on {kind}" if kind else "")
    if kind in FORGETFUL:
        return wrong(f"SPOOL_DIR is in memory ({kind}): a restart loses it.", LOCAL)
    if seconds >= TOO_SLOW_SECONDS:
        return wrong(f"{took}: too slow to answer Telnyx in time.", LOCAL)
    if kind in REMOTE or seconds >= SLOW_SECONDS:
        return warning(f"{took}.", LOCAL)
    return ok(f"{took}.")


def spool_space(situation: Situation) -> Finding:
    """Free room for all that SPOOL_LIMIT_MB lets it hold."""
    folder = _folder(situation)
    if folder is None:
        return skipped("SPOOL is off.")
    free = disk.free_bytes(folder)
    left = situation.settings.SPOOL_LIMIT_MB * MIB - size_of(folder)
    found = f"{free // MIB:,} MiB are free, and the spool may take {max(0, left) // MIB:,} MiB more"
    if free < LEAST_FREE:
        return wrong(f"{found}.", "Make room on the disk of SPOOL_DIR.")
    if left <= 0:
        return wrong(f"{found}: it takes no more callbacks.", "Let it drain, or raise SPOOL_LIMIT_MB.")
    if free < left:
        return warning(f"{found}.", "Make room on the disk of SPOOL_DIR, or lower SPOOL_LIMIT_MB.")
    return ok(f"{found}.")


def _folder(situation: Situation) -> Path | None:
    settings = situation.settings
    return None if settings.SPOOL is Use.OFF else settings.SPOOL_DIR
