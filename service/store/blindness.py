"""Whether an absence proves anything: callbacks may wait on a disk, or were not listened for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection


@dataclass(frozen=True)
class Blindness:
    """Why an absence proves nothing, as the end of a sentence: "callbacks may still wait on host B".

    `is_decided`: it has lasted so long that the absence counts all the same, with these words.
    """

    words: str
    is_decided: bool


def since(db: Connection, moment: datetime) -> Blindness | None:
    """What makes absences since `moment` (UTC, the database's clock) unsure; None: nothing does."""
    del db, moment
    return None
