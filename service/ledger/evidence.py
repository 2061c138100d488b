"""Who reads evidence is written down before it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from service.store import events
from service.store.engine import Database, DatabaseError
from service.store.events import EVIDENCE, Action, EvidenceEventKind

# What was read, where it is no session's.
CALLBACKS: Final = "callbacks"
REJECTED: Final = "rejected"
DEAD_LETTERS: Final = "dead-letters"


class ReadingNotWritten(Exception):
    """The database did not take it: the evidence is not to be shown."""


def write_reading(database: Database, what: str, ids: Sequence[str], actor: str, now: datetime) -> None:
    """That `actor` reads evidence of a session, by its id, or of what is no session's.

    `ids` are those of the callbacks, or of whatever holds it, in the order in which they are shown: where
    there are none, nothing is read. It is committed when this returns. Raises ReadingNotWritten.
    """
    if not ids:
        return
    facts = {"count": (None, len(ids)), "first": (None, ids[0]), "last": (None, ids[-1])}
    try:
        with database.begin() as db:
            action = Action(EVIDENCE, what, EvidenceEventKind.READ, actor, facts)
            events.add_action(db, action, now)
    except DatabaseError as error:
        raise ReadingNotWritten(str(error)) from error
