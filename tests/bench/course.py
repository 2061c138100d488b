"""The course of a run: one race after another, with servers and databases of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench import post
from tests.bench.contestants import LEDGER, Contestant, PinnedPostgres, running
from tests.bench.figures import FLOOR, FLOOR_WSGI, KINDS, SLOW, STORED, Stage
from tests.bench.ledgers import Naive, Ours
from tests.bench.load import Load, send
from tests.bench.machine import SERVER_CORE, Compiled, on_core
from tests.bench.race import Track

APPS = "tests.bench.apps:"
NAIVE_THREADS = (1, 4, 8)  # one: gunicorn's sync worker
PROBES = 3
PROBE_SECONDS = 0.5
PROBE_BLOCKS = 50


@dataclass(frozen=True)
class Scale:
    rounds: int
    seconds: float  # of a slice
    stored: int  # callbacks that many are, in the last race


class Course:
    """`folder` and `memory` are where databases are kept, on disk and in memory."""

    def __init__(self, scale: Scale, folder: Path, memory: Path, compiled: Compiled) -> None:
        self._scale = scale
        self._folder = folder
        self._memory = memory
        self._compiled = compiled
        self._loads = {n: Load(n, scale.seconds) for n in (1, 16, 64)}
        self._fresh = Load(64, scale.seconds, is_fresh=True)
        self._files = 0

    def ceiling(self) -> dict[str, float]:
        """Requests a second that the load program gets out of a server that does nothing."""
        with on_core(SERVER_CORE):
            responder = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.responder"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        with responder:
            assert responder.stdout is not None
            port = int(responder.stdout.readline())
            rates = self._probe(port, [self._loads[64], self._fresh])
            responder.communicate("")
        return {"keep-alive": rates[self._loads[64]], "fresh connections": rates[self._fresh]}

    def stages(self) -> Iterator[Stage]:
        """Each as soon as it is over."""
        with running(FLOOR_WSGI, f"{APPS}floor_wsgi()") as one:
            fastest = self._probe(one.port, [*self._loads.values(), self._fresh])
        with PinnedPostgres() as server:
            naive = self._naive_threads(server, fastest[self._loads[16]])
            yield naive
            floor_rate = 0.0
            for stage in self._doors(server, _best_threads(naive), fastest):
                if stage.key == "64":
                    floor_rate = stage.median(FLOOR, "rate")
                yield stage
            yield self._half_load(floor_rate / 2)
            yield self._slow_fsync(server, fastest[self._loads[64]])
            yield self._many_stored(server, fastest[self._loads[64]])

    def _probe(self, port: int, loads: Iterable[Load]) -> dict[Load, float]:
        """The best rate of a server that stores nothing, under each load."""
        callbacks = post.prepare(self._folder / "probe", 1, PROBE_BLOCKS)

        def rate(load: Load) -> float:
            moment = replace(load, seconds=PROBE_SECONDS)
            return max(send(self._compiled.load, port, callbacks, 0, moment).rate for _ in range(PROBES))

        return {load: rate(load) for load in loads}

    def _naive_threads(self, server: PinnedPostgres, fastest: float) -> Stage:
        load = self._loads[16]
        track = self._track({load: fastest})
        with ExitStack() as stack:
            field = [
                self._naive(stack, _naive_name(kind, threads), self._url(kind, server), track, threads)
                for kind in KINDS
                for threads in NAIVE_THREADS
            ]
            return Stage("naive", "The naive handler, concurrency 16", track.race(field, load), {})

    def _doors(
        self, server: PinnedPostgres, threads: Mapping[str, int], fastest: Mapping[Load, float]
    ) -> Iterator[Stage]:
        track = self._track({load: fastest[load] for load in (*self._loads.values(), self._fresh)})
        with ExitStack() as stack:
            floors = self._floors(stack)
            naive = [
                self._naive(stack, f"naive, {kind}", self._url(kind, server), track, threads[kind])
                for kind in KINDS
            ]
            url = server.create_database()
            direct = self._ours(stack, "direct, PostgreSQL", url, track, app=f"{APPS}direct()")
            ours = [self._ours(stack, f"ours, {kind}", self._url(kind, server), track) for kind in KINDS]
            track.begin([*floors, *naive, direct, *ours])
            for connections, load in self._loads.items():
                field = [*floors, *naive, *([direct] if connections == 1 else []), *ours]
                yield _beside_the_floor(str(connections), f"Concurrency {connections}", field, load, track)
            title = "Concurrency 64, a connection for each callback"
            yield _beside_the_floor("fresh", title, [*floors, *ours], self._fresh, track)

    def _half_load(self, rate: float) -> Stage:
        load = Load(64, self._scale.seconds * 5 / 3, rate)  # longer, since a p99 wants many
        track = self._track({load: rate})
        with ExitStack() as stack:
            server = stack.enter_context(PinnedPostgres(memory=self._memory))
            floors = self._floors(stack)
            ours = [
                self._ours(stack, f"ours, {kind}", self._url(kind, server, self._memory), track)
                for kind in KINDS
            ]
            track.begin([*floors, *ours])
            title = f"Half load: {rate:.0f} a second, open loop, databases in memory"
            return _beside_the_floor("half", title, [*floors, *ours], load, track)

    def _slow_fsync(self, server: PinnedPostgres, fastest: float) -> Stage:
        load, library = self._loads[64], self._compiled.slow_sync
        track = self._track({load: fastest})
        with ExitStack() as stack:
            slow_server = stack.enter_context(PinnedPostgres(preload=library))
            pairs = {}
            for kind in KINDS:
                name, url, slow_url = f"ours, {kind}", self._url(kind, server), self._url(kind, slow_server)
                without = self._ours(stack, name, url, track)
                pairs[self._ours(stack, name + SLOW, slow_url, track, preload=library)] = without
            return _beside_each_other("slow", "Every fsync 2 ms slower, concurrency 64", pairs, load, track)

    def _many_stored(self, server: PinnedPostgres, fastest: float) -> Stage:
        load = self._loads[64]
        track = self._track({load: fastest})
        with ExitStack() as stack:
            pairs = {}
            for kind in KINDS:
                name = f"ours, {kind}"
                empty = self._ours(stack, name, self._url(kind, server), track)
                pairs[self._ours(stack, name + STORED, self._url(kind, server), track)] = empty
            track.begin([*pairs, *pairs.values()])
            for one in pairs:
                assert isinstance(one.ledger, Ours)
                one.ledger.store(self._scale.stored)
            title = f"{self._scale.stored:,} callbacks stored before, concurrency 64"
            return _beside_each_other("stored", title, pairs, load, track)

    def _floors(self, stack: ExitStack) -> list[Contestant]:
        return [
            stack.enter_context(running(FLOOR, f"{APPS}floor()")),
            stack.enter_context(running(FLOOR_WSGI, f"{APPS}floor_wsgi()")),
        ]

    def _naive(self, stack: ExitStack, name: str, url: str, track: Track, threads: int) -> Contestant:
        ledger = Naive(url, track.sessions)
        stack.callback(ledger.close)
        return stack.enter_context(running(name, f"{APPS}naive()", ledger, threads))

    def _ours(
        self,
        stack: ExitStack,
        name: str,
        url: str,
        track: Track,
        app: str = LEDGER,
        preload: Path | None = None,
    ) -> Contestant:
        ledger = Ours(url, track.sessions)
        stack.callback(ledger.close)
        return stack.enter_context(running(name, app, ledger, preload=preload))

    def _url(self, kind: str, server: PinnedPostgres, folder: Path | None = None) -> str:
        """A new database: on `server`, or an SQLite file in `folder`."""
        if kind == "PostgreSQL":
            return server.create_database()
        self._files += 1
        return f"sqlite:///{folder or self._folder}/{self._files}.sqlite3"

    def _track(self, plan: Mapping[Load, float]) -> Track:
        return Track(self._folder, self._compiled.load, self._scale.rounds, plan)


def _naive_name(kind: str, threads: int) -> str:
    return f"naive, {kind}, {threads} threads" if threads > 1 else f"naive, {kind}, sync worker"


def _best_threads(naive: Stage) -> dict[str, int]:
    """For each database."""
    return {
        kind: max(NAIVE_THREADS, key=lambda threads: naive.median(_naive_name(kind, threads), "rate"))
        for kind in KINDS
    }


def _beside_the_floor(key: str, title: str, field: list[Contestant], load: Load, track: Track) -> Stage:
    versus = {one.name: FLOOR for one in field if one.name != FLOOR}
    return Stage(key, title, track.race(field, load), versus)


def _beside_each_other(
    key: str, title: str, pairs: Mapping[Contestant, Contestant], load: Load, track: Track
) -> Stage:
    field = [one for pair in pairs.items() for one in reversed(pair)]
    versus = {one.name: other.name for one, other in pairs.items()}
    return Stage(key, title, track.race(field, load), versus)
