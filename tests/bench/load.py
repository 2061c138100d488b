"""Runs the load program, and reads what became of each request."""

from __future__ import annotations

import subprocess
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import machine
from tests.bench.post import CALLBACKS, Post

PATIENCE_SECONDS = 30


class DidNotSend(Exception):
    """The load program failed, in its words."""


@dataclass(frozen=True)
class Load:
    """How it is sent. `rate` None: a connection sends when it is answered; else so many a second."""

    connections: int
    seconds: float
    rate: float | None = None
    is_fresh: bool = False  # a connection for each request


@dataclass(frozen=True)
class Slice:
    """What became of the requests from `first` on, in their order; a status of 1 means no answer."""

    first: int
    statuses: list[int]
    milliseconds: list[float]  # of those answered 200, ascending
    seconds: float
    cpu_seconds: float  # of the load program

    @property
    def next(self) -> int:
        """Where the next slice begins: with a new block, so that no repeat is parted from its first."""
        return -(-(self.first + len(self.statuses)) // CALLBACKS) * CALLBACKS

    @property
    def kept(self) -> int:
        return len(self.milliseconds)

    @property
    def rate(self) -> float:
        return self.kept / self.seconds if self.seconds else 0

    def percentile(self, share: float) -> float:
        """Milliseconds; infinite if nothing was answered."""
        return percentile(self.milliseconds, share)


def percentile(ascending: Sequence[float], share: float) -> float:
    """Infinite if there is nothing."""
    if not ascending:
        return float("inf")
    return ascending[min(len(ascending) - 1, int(len(ascending) * share))]


def send(program: Path, port: int, post: Post, first: int, load: Load) -> Slice:
    with sending(program, port, post, first, load) as finish:
        return finish()


@contextmanager
def sending(program: Path, port: int, post: Post, first: int, load: Load) -> Iterator[Callable[[], Slice]]:
    """It has begun; what is yielded waits for its end."""
    with tempfile.NamedTemporaryFile() as results:
        arguments = [port, post.path, results.name, first, load.connections, load.seconds]
        arguments += [load.rate or 0, int(load.is_fresh)]
        with machine.on_core(machine.LOAD_CORE):
            running = subprocess.Popen(
                [program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )

        def finish() -> Slice:
            output, errors = running.communicate(timeout=load.seconds + PATIENCE_SECONDS)
            if running.returncode:
                raise DidNotSend(errors)
            return _slice(first, Path(results.name).read_bytes(), output)

        with running:
            try:
                yield finish
            finally:
                running.kill()  # over long ago, if all went well


def _slice(first: int, results: bytes, output: str) -> Slice:
    numbers = array("I", results)
    statuses, taken = list(numbers[0::2]), numbers[1::2]
    answered = sorted(us / 1000 for status, us in zip(statuses, taken, strict=True) if status == 200)
    seconds, cpu_seconds = map(float, output.split())
    return Slice(first, statuses, answered, seconds, cpu_seconds)
