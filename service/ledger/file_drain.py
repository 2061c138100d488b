"""What became of the entries of one spool file."""

from __future__ import annotations

from service.store.engine import Server


class FileDrain:
    """One spool file's, for as long as the file is there."""

    def __init__(self) -> None:
        # The same entry in another file is one that was retried: it is to be written again.
        self.dead: set[bytes] = set()  # of which dead letters were made
        # of this round
        self.servers: set[Server | None] = set()  # that were the primary, or committed some of it
        self.has_waiting = False  # entries that were not committed

    def begin(self, server: Server | None) -> None:
        """A round, while `server` is the primary."""
        self.servers, self.has_waiting = {server}, False

    @property
    def is_complete(self) -> bool:
        """Whether all of it was committed, on one server that is the primary still."""
        return not self.has_waiting and len(self.servers) == 1
