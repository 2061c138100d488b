"""What goes on beside a slice: readers that list sessions, or clients that send half of a request."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.bench import load, post
from tests.bench.load import Load
from tests.bench.machine import LOAD_CORE, on_core

READERS = 8
SLOW_CLIENTS = 1000
MOST_LISTS = 20_000  # in a slice


class DidNotGoOn(Exception):
    """The background was not what it should have been, so the slice says nothing."""


@dataclass
class Seen:
    """What the background came to, once it is over, in its `unit`."""

    amount: float = 0


class Background(Protocol):
    unit: str

    def going_on(self, port: int, seconds: float) -> AbstractContextManager[Seen]: ...


class Readers:
    """List the newest sessions as fast as they are answered, each on a connection of its own."""

    unit = "lists/s"

    def __init__(self, program: Path, folder: Path, api_key: str) -> None:
        self._program = program
        self._lists = post.prepare_lists(folder / f"lists-{api_key[:16]}", api_key, MOST_LISTS)

    @contextmanager
    def going_on(self, port: int, seconds: float) -> Iterator[Seen]:
        seen = Seen()
        with load.sending(self._program, port, self._lists, 0, Load(READERS, seconds)) as finish:
            yield seen
            sent = finish()
        if sent.kept < len(sent.statuses):
            raise DidNotGoOn(f"only {sent.kept} of {len(sent.statuses)} lists were answered 200")
        seen.amount = sent.rate


class SlowClients:
    """Connections that are silent, or send half of a request; who is thrown out comes back."""

    unit = "slow clients"

    def __init__(self, count: int = SLOW_CLIENTS) -> None:
        self._count = count

    @contextmanager
    def going_on(self, port: int, seconds: float) -> Iterator[Seen]:
        """However long `seconds` are: they stay until it is over."""
        seen = Seen()
        with on_core(LOAD_CORE):
            command = [sys.executable, "-m", "tests.bench.slow_clients", str(port), str(self._count)]
            program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with program:
            assert program.stdout is not None
            program.stdout.readline()  # all of them are there
            yield seen
            seen.amount = float(program.communicate("")[0])
