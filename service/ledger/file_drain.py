"""What became of the entries of one spool file."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final

from service.store.engine import Server

MOST_LOCKED: Final = 3  # entries of a file in a round; other files wait meanwhile


class FileDrain:
    """One spool file's, for as long as the file is there.

    An entry is known by its digest. The same one in another file is a dead letter that was retried, and is
    to be written again.
    """

    def __init__(self) -> None:
        self.server: Server | None = None  # the primary
        self.committed: set[bytes] = set()  # on that server
        self.dead: set[bytes] = set()
        # of this round
        self.has_waiting = False  # some were not committed on that server
        self.has_changed_primary = False  # since it began
        self.locked = 0  # how many of them somebody else's transaction held up

    def begin_round(self, server: Server | None) -> None:
        """`server` is the primary now. What another one committed is to be written again."""
        if server != self.server:
            self.committed.clear()
        self.server, self.has_waiting, self.has_changed_primary, self.locked = server, False, False, 0

    @property
    def is_stuck(self) -> bool:
        """Whether the rest of it is left for the next round: each that is locked takes its time."""
        return self.locked >= MOST_LOCKED

    def is_settled(self, packed: bytes) -> bool:
        """Whether it needs not be written in this round."""
        known = digest(packed)
        return known in self.dead or known in self.committed


def digest(packed: bytes) -> bytes:
    return hashlib.sha256(packed).digest()


def digests(batch: Collection[bytes]) -> set[bytes]:
    return set(map(digest, batch))
