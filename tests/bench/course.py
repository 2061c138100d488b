"""The course of a run: one race after another, with servers and databases of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench import post
from tests.bench.contestants import Contestant, PinnedPostgres, running
from tests.bench.field import APPS, Field
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
    Stage,
)
from tests.bench.load import Load, send
from tests.bench.machine import SERVER_CORE, Compiled, on_core
from tests.bench.peers import Peer
from tests.bench.race import Track

NAIVE_THREADS = (1, 4, 8)  # one: gunicorn's sync worker
USUAL_THREADS = 4  # where it was not tried what suits it best
GENUINE_RATE = 100  # a second, beside forgers
WATCHED_RATE = 500  # a second, while very many sessions are due
PROBES = 3
WATCH, EXPORTED = "watch", "exports"
PROBE_SECONDS = 0.5
PROBE_BLOCKS = 50


@dataclass(frozen=True)
class Scale:
    rounds: int
    seconds: float  # of a slice
    stored: int  # callbacks that many are
    sessions: tuple[int, int]  # that few are, and many, for the reads


class Course:
    """`folder` and `memory` are where databases are kept, on disk and in memory."""

    def __init__(
        self, scale: Scale, folder: Path, memory: Path, compiled: Compiled, peers: Sequence[Peer]
    ) -> None:
        self._scale = scale
        self._folder = folder
        self._memory = memory
        self._compiled = compiled
        self._peers = peers
        self._loads = {n: Load(n, scale.seconds) for n in (1, 16, 64)}
        self._fresh = Load(64, scale.seconds, is_fresh=True)
        self._long = Load(64, scale.seconds * 4)  # for what first has to notice that it is not alone
        self._fastest: Mapping[Load, float] = {}
        self._naive_threads = dict.fromkeys(KINDS, USUAL_THREADS)
        self._floor_rate: float | None = None

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

    def stages(self, races: Collection[str]) -> Iterator[Stage]:
        """Of these of RACES, each as soon as it is over."""
        if not set(RACES) & set(races):
            return
        with running(FLOOR_WSGI, f"{APPS}floor_wsgi()") as one:
            self._fastest = self._probe(one.port, [*self._loads.values(), self._fresh, self._long])
        with PinnedPostgres() as server:
            for name, race in RACES.items():
                if name in races:
                    yield from race(self, server)

    def _probe(self, port: int, loads: Iterable[Load]) -> dict[Load, float]:
        """The best rate of a server that stores nothing, under each load."""
        callbacks = post.prepare(self._folder / "probe", 1, PROBE_BLOCKS)

        def rate(load: Load) -> float:
            moment = replace(load, seconds=PROBE_SECONDS)
            return max(send(self._compiled.load, port, callbacks, 0, moment).rate for _ in range(PROBES))

        return {load: rate(load) for load in loads}

    def _naive(self, server: PinnedPostgres) -> Iterator[Stage]:
        """Which number of threads suits it best, for the races to come."""
        load = self._loads[16]
        names = {(kind, n): _naive_name(kind, n) for kind in KINDS for n in NAIVE_THREADS}
        with self._field(server, [load]) as field:
            contestants = [field.naive(kind, n, name) for (kind, n), name in names.items()]
            result = field.track.race(contestants, load)
        stage = Stage("naive", "The naive handler, concurrency 16", result, {})
        for kind in KINDS:
            best = stage.fastest(names[kind, n] for n in NAIVE_THREADS)
            self._naive_threads[kind] = next(n for n in NAIVE_THREADS if names[kind, n] == best)
        yield stage

    def _endpoints(self, server: PinnedPostgres) -> Iterator[Stage]:
        loads = [*self._loads.values(), self._fresh]
        with self._field(server, loads) as field:
            floors = field.floors()
            others = [field.naive(kind, self._naive_threads[kind]) for kind in KINDS]
            others += field.peers(self._peers)
            ours = [field.ours(kind) for kind in KINDS]
            field.track.begin([*floors, *others, *ours])
            for connections, load in self._loads.items():
                all_of_them = [*floors, *others, *ours]
                title = f"Concurrency {connections}"
                stage = _beside_the_floor(str(connections), title, all_of_them, load, field.track)
                yield stage
            self._floor_rate = stage.median(FLOOR, "rate")  # at 64, the last one
            title = "Concurrency 64, a connection for each callback"
            yield _beside_the_floor("fresh", title, [*floors, *ours], self._fresh, field.track)

    def _half_load(self, _server: PinnedPostgres) -> Iterator[Stage]:
        """Undisturbed, and beside slow clients."""
        rate = (self._floor_rate or self._probe_floor()) / 2
        load = Load(64, self._scale.seconds * 5 / 3, rate)  # longer, since a p99 wants many
        title = f"Half load: {rate:.0f} a second, open loop, databases in memory"
        with PinnedPostgres(memory=self._memory) as server:
            with self._field(server, [load], self._memory) as field:
                contestants = [*field.floors(), *(field.ours(kind) for kind in KINDS)]
                field.track.begin(contestants)
                yield _beside_the_floor("half", title, contestants, load, field.track)
            with self._field(server, [load], self._memory) as field:
                pairs = [(field.floor(), field.floor(SLOW_CLIENTS)), *field.pairs(SLOW_CLIENTS)]
                title = f"{title}, beside 1,000 silent or half-sent connections"
                yield _beside_each_other("clients", title, pairs, load, field.track)

    def _probe_floor(self) -> float:
        with running(FLOOR, f"{APPS}floor()") as floor:
            return self._probe(floor.port, [self._loads[64]])[self._loads[64]]

    def _slow_fsync(self, server: PinnedPostgres) -> Iterator[Stage]:
        load = self._loads[64]
        with (
            PinnedPostgres(preload=self._compiled.slow_sync) as slow_server,
            self._field(server, [load]) as field,
        ):
            slow = replace(field, server=slow_server)
            pairs = [(field.ours(kind), slow.put_through(kind, SLOW_FSYNC)) for kind in KINDS]
            title = "Every fsync 2 ms slower, concurrency 64"
            yield _beside_each_other("fsync", title, pairs, load, field.track)

    def _many_stored(self, server: PinnedPostgres) -> Iterator[Stage]:
        load, stored = self._loads[64], self._scale.stored
        with self._field(server, [load]) as field:
            pairs = field.pairs(STORED, stored=stored)
            title = f"{stored:,} callbacks stored before, concurrency 64"
            yield _beside_each_other("stored", title, pairs, load, field.track)

    def _two_workers(self, server: PinnedPostgres) -> Iterator[Stage]:
        load = self._loads[64]
        with self._field(server, [load]) as field:
            pairs = field.pairs(TWO_WORKERS, kinds=[POSTGRESQL])
            title = "Two workers, both on the server's core, concurrency 64"
            yield _beside_each_other("workers", title, pairs, load, field.track)

    def _readers(self, server: PinnedPostgres) -> Iterator[Stage]:
        load = self._loads[64]
        with self._field(server, [load]) as field:
            pairs = field.pairs(READERS)
            title = "Beside 8 readers that list sessions as fast as they can, concurrency 64"
            yield _beside_each_other("readers", title, pairs, load, field.track)

    def _followers(self, server: PinnedPostgres) -> Iterator[Stage]:
        load = self._loads[64]
        with self._field(server, [load]) as field:
            pairs = field.pairs(FOLLOWERS)
            title = "Beside 1,000 readers that wait for a session each, and 10 for everything, concurrency 64"
            yield _beside_each_other("followers", title, pairs, load, field.track)

    def _exports(self, server: PinnedPostgres) -> Iterator[Stage]:
        load, stored = self._long, self._scale.stored
        with self._field(server, [load]) as field:
            pairs = field.pairs(EXPORTS, stored=stored)
            beside = f"beside an export and a report of days, concurrency 64, {load.seconds:g} s"
            title = f"{stored:,} callbacks stored, {beside}"
            yield _beside_each_other(EXPORTED, title, pairs, load, field.track)

    def _watch(self, server: PinnedPostgres) -> Iterator[Stage]:
        load = Load(64, self._scale.seconds * 2, WATCHED_RATE)  # longer, since a p99 wants many
        with self._field(server, [load]) as field:
            pairs = field.pairs(DUE)
            title = f"{WATCHED_RATE} a second, open loop, while 100,000 sessions are due at once"
            yield _beside_each_other("watch", title, pairs, load, field.track)

    def _forgers(self, server: PinnedPostgres) -> Iterator[Stage]:
        load = Load(64, self._scale.seconds * 3, GENUINE_RATE)  # longer, since a p99 wants many
        with self._field(server, [load]) as field:
            pairs = [(field.floor(), field.floor(FORGERS)), *field.pairs(FORGERS)]
            title = f"{GENUINE_RATE} a second, open loop, beside 64 forgers that forge as fast as they can"
            yield _beside_each_other("forgers", title, pairs, load, field.track)

    @contextmanager
    def _field(
        self, server: PinnedPostgres, loads: Iterable[Load], folder: Path | None = None
    ) -> Iterator[Field]:
        """For races under each of these loads."""
        plan = {load: load.rate or self._fastest[load] for load in loads}
        track = Track(self._folder, self._compiled.load, self._scale.rounds, plan)
        with ExitStack() as stack:
            yield Field(stack, track, self._compiled, folder or self._folder, server)


RACES: Mapping[str, Callable[[Course, PinnedPostgres], Iterator[Stage]]] = {
    "naive": Course._naive,
    "endpoints": Course._endpoints,
    "half": Course._half_load,
    "fsync": Course._slow_fsync,
    "stored": Course._many_stored,
    "workers": Course._two_workers,
    "readers": Course._readers,
    "followers": Course._followers,
    EXPORTED: Course._exports,
    "forgers": Course._forgers,
    WATCH: Course._watch,
}


def _naive_name(kind: str, threads: int) -> str:
    return f"naive, {kind}, {threads} threads" if threads > 1 else f"naive, {kind}, sync worker"


def _beside_the_floor(
    key: str, title: str, contestants: Sequence[Contestant], load: Load, track: Track
) -> Stage:
    versus = {one.name: FLOOR for one in contestants if one.name != FLOOR}
    return Stage(key, title, track.race(contestants, load), versus, _compared(load))


def _beside_each_other(
    key: str, title: str, pairs: Sequence[tuple[Contestant, Contestant]], load: Load, track: Track
) -> Stage:
    """`pairs` are without and with what the race is about."""
    versus = {one.name: other.name for other, one in pairs}
    result = track.race([one for pair in pairs for one in pair], load)
    return Stage(key, title, result, versus, _compared(load))


def _compared(load: Load) -> str:
    """In an open loop all have the same rate, or should."""
    return "p99" if load.rate else "rate"
