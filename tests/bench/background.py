"""What goes on beside a slice: readers that list sessions, forgers, or clients that are slow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.bed import slow
from tests.bench import load, post
from tests.bench.load import Load
from tests.bench.machine import LOAD_CORE, on_core
from tests.bench.post import Post

READERS = 8
FORGERS = 64
SLOW_CLIENTS = 1000
HALF_A_HEADER = b"POST /callbacks/siprec HTTP/1.1\r\nHost: localhost\r\nContent-Ty"
MOST_LISTS = 20_000  # in a slice
MOST_FORGERIES = 100_000


class DidNotGoOn(Exception):
    """The background was not what it should have been, so the slice says nothing."""


@dataclass
class Seen:
    """What the background came to, once it is over, in its `unit`."""

    amount: float = 0


class Background(Protocol):
    unit: str

    def going_on(self, port: int, seconds: float) -> AbstractContextManager[Seen]: ...


class ClosedLoop:
    """Clients that ask as fast as they are answered, each on a connection of its own."""

    unit: str
    clients: int
    status: int  # that each of them is answered

    def __init__(self, program: Path, requests: Post) -> None:
        self._program = program
        self._requests = requests

    @contextmanager
    def going_on(self, port: int, seconds: float) -> Iterator[Seen]:
        seen = Seen()
        with load.sending(self._program, port, self._requests, 0, Load(self.clients, seconds)) as finish:
            yield seen
            sent = finish()
        answered, all_ = sent.statuses.count(self.status), len(sent.statuses)
        if answered < all_:
            raise DidNotGoOn(f"of {all_} for {self.unit}, {answered} were answered {self.status}")
        if all_ == len(self._requests.bodies):
            raise DidNotGoOn(f"{all_} for {self.unit} were not enough")
        seen.amount = answered / sent.seconds


class Readers(ClosedLoop):
    """List the newest sessions."""

    unit, clients, status = "lists/s", READERS, 200

    def __init__(self, program: Path, folder: Path, api_key: str) -> None:
        lists = post.prepare_lists(folder / f"lists-{api_key[:16]}", api_key, MOST_LISTS)
        super().__init__(program, lists)


class Forgers(ClosedLoop):
    """Send callbacks whose signature is wrong."""

    unit, clients, status = "forged/s", FORGERS, 403

    def __init__(self, program: Path, folder: Path) -> None:
        super().__init__(program, post.prepare_forged(folder / "forged", MOST_FORGERIES))


class SlowClients:
    """Connections that say nothing, or half of a request, or drip: a quarter each stops somewhere else."""

    unit = "slow clients"

    def __init__(self, count: int = SLOW_CLIENTS) -> None:
        self._count = count

    @contextmanager
    def going_on(self, port: int, seconds: float) -> Iterator[Seen]:
        """However long `seconds` are: they stay until it is over, or the server closes them."""
        seen, address, each = Seen(), ("127.0.0.1", port), self._count // 4
        with on_core(LOAD_CORE), ExitStack() as stack:
            clients = [
                stack.enter_context(slow.silent(address, each)),
                stack.enter_context(slow.half_sent(address, each, HALF_A_HEADER)),
                stack.enter_context(slow.half_sent(address, each)),
                stack.enter_context(slow.dripping(address, each)),
            ]
            yield seen
            seen.amount = sum(one.count_open() for one in clients)
