"""The field of a race: contestants with databases of their own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.bench.background import Background, Exporters, Followers, Forgers, Readers, SlowClients
from tests.bench.contestants import LEDGER, WATCHED_LEDGER, Contestant, PinnedPostgres, running, running_peer
from tests.bench.data import CALLBACKS_EACH
from tests.bench.figures import (
    DUE,
    EXPORTS,
    FLOOR,
    FLOOR_WSGI,
    FOLLOWERS,
    FORGERS,
    KINDS,
    POSTGRESQL,
    READERS,
    SLOW_CLIENTS,
    SLOW_FSYNC,
    STORED,
    TWO_WORKERS,
)
from tests.bench.ledgers import Ledger, Naive, Ours
from tests.bench.machine import Compiled
from tests.bench.overdue import DueAtOnce
from tests.bench.peers import Peer
from tests.bench.race import Track

APPS = "tests.bench.apps:"
AnyLedger = TypeVar("AnyLedger", bound=Ledger)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Field:
    """What it makes ends with `stack`. SQLite's files go into `folder`, all others to `server`."""

    stack: ExitStack
    track: Track
    compiled: Compiled
    folder: Path
    server: PinnedPostgres

    def floor(self, added: str = "") -> Contestant:
        background = self._background(added)
        return self.stack.enter_context(running(FLOOR + added, f"{APPS}floor()", background=background))

    def floors(self) -> list[Contestant]:
        wsgi = running(FLOOR_WSGI, f"{APPS}floor_wsgi()")
        return [self.floor(), self.stack.enter_context(wsgi)]

    def naive(self, kind: str, threads: int, name: str | None = None) -> Contestant:
        ledger = self._open(Naive(self._url(kind), self.track.sessions))
        app = running(name or f"naive, {kind}", f"{APPS}naive()", ledger, threads=threads)
        return self.stack.enter_context(app)

    def peers(self, installed: Sequence[Peer]) -> list[Contestant]:
        return [
            self.stack.enter_context(
                running_peer(peer, self._open(Naive(self._url(peer.kind), self.track.sessions)))
            )
            for peer in installed
        ]

    def ours(self, kind: str, app: str = LEDGER, stored: int = 0) -> Contestant:
        """With so many callbacks `stored` before it begins."""
        ledger = self._open(Ours(self._url(kind), self.track.sessions, int(stored / CALLBACKS_EACH)))
        return self.stack.enter_context(running(f"ours, {kind}", app, ledger))

    def put_through(self, kind: str, added: str, stored: int = 0) -> Contestant:
        """Ours again, with what its name says."""
        ledger = self._open(Ours(self._url(kind), self.track.sessions, int(stored / CALLBACKS_EACH)))
        return self.stack.enter_context(
            running(
                f"ours, {kind}{added}",
                _app(added),
                ledger,
                workers=2 if added == TWO_WORKERS else 1,
                preload=self.compiled.slow_sync if added == SLOW_FSYNC else None,
                background=self._background(added, ledger),
            )
        )

    def _background(self, added: str, ledger: Ours | None = None) -> Background | None:
        if added == READERS and ledger:
            return Readers(self.compiled.load, self.folder, ledger.api_key)
        if added == FOLLOWERS and ledger:
            return Followers(ledger.api_key, self.track.sessions)
        if added == EXPORTS and ledger:
            return Exporters(ledger.api_key)
        if added == DUE and ledger:
            return DueAtOnce(ledger.url)
        if added == FORGERS:
            return Forgers(self.compiled.load, self.folder)
        return SlowClients() if added == SLOW_CLIENTS else None

    def pairs(
        self, added: str, kinds: Sequence[str] = KINDS, stored: int = 0
    ) -> list[tuple[Contestant, Contestant]]:
        """For each kind of database ours without and with what is added; beside many `stored`, none are."""
        before = 0 if added == STORED else stored
        return [
            (self.ours(kind, _app(added), before), self.put_through(kind, added, stored)) for kind in kinds
        ]

    def _open(self, ledger: AnyLedger) -> AnyLedger:
        return self.stack.enter_context(closing(ledger))

    def _url(self, kind: str) -> str:
        """A new database. PostgreSQL's is dropped with `stack`, or autovacuum would go on in it."""
        if kind == POSTGRESQL:
            url = self.server.create_database()
            self.stack.callback(self.server.drop_database, url)
            return url
        return f"sqlite:///{self.folder}/{next(_numbers)}.sqlite3"


def _app(added: str) -> str:
    """Where others could hold up the event loop, it is watched, with them and without."""
    return WATCHED_LEDGER if added in (SLOW_CLIENTS, FORGERS) else LEDGER
