"""What goes on beside a slice: readers that list sessions, forgers, or clients that are slow."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.bed import slow
from tests.bench import followers, load, post
from tests.bench.load import Load
from tests.bench.machine import LOAD_CORE, on_core
from tests.bench.post import Post

READERS = 8
FORGERS = 64
SLOW_CLIENTS = 1000
WAITING = 1000
FOLLOWERS = 10
LEAVE_SECONDS = 4  # for the service to notice that all have left: it answers each of them
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


class Program:
    """A program of ours that does something until its standard input ends, and says how often it did."""

    unit: str
    module: str
    for_each = 1  # of its clients, what is said of them all

    def __init__(self, api_key: str, *arguments: object, words: str = "") -> None:
        self._environment = os.environ | {followers.KEY: api_key}
        self._arguments = arguments
        self._words = words

    @contextmanager
    def going_on(self, port: int, seconds: float) -> Iterator[Seen]:
        seen, arguments = Seen(), [str(one) for one in (port, *self._arguments)]
        with (
            on_core(LOAD_CORE),
            subprocess.Popen(
                [sys.executable, "-m", self.module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=self._environment,
            ) as program,
        ):
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write(self._words)
            program.stdin.flush()
            if program.stdout.readline() != "ready\n":
                raise DidNotGoOn(f"{self.module} did not begin")
            yield seen
            found, _ = program.communicate()
            if program.returncode:
                raise DidNotGoOn(f"{self.module} failed")
            time.sleep(LEAVE_SECONDS)
            seen.amount = int(found.split()[0]) / self.for_each / seconds


class Followers(Program):
    """Wait for a session each, spread over all that the callbacks tell of; and a few for everything."""

    unit, module = "events/s to each of them who waits for everything", "tests.bench.followers"

    def __init__(self, api_key: str, sessions: int, count: int = WAITING, followers: int = FOLLOWERS) -> None:
        ids = [post.session_id(1 + at * sessions // count) for at in range(count)]
        super().__init__(api_key, followers, words="\n".join([*ids, "", ""]))
        self.for_each = followers


class Exporters(Program):
    """One exports all sessions, again and again; another asks for the last days by day."""

    unit, module = "rows/s exported", "tests.bench.exporters"


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
