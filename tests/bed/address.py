"""An address of PostgreSQL that can hang, break, refuse, and be moved from one server to another."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bed import places, processes, proxy


class Gone(Exception):
    """The program behind the address has ended."""


class Address:
    """A port of 127.0.0.1 from `__init__` until `close`; `target` is a unix socket's path or host:port.

        with Address(server.socket) as address:
            url = f"postgresql://postgres@127.0.0.1:{address.port}/postgres"

    Each method returns when it is so. `lead_to` holds for new connections; those that are open stay where
    they are until they are `cut`.
    """

    def __init__(self, target: Path | str) -> None:
        self._place = places.some()
        self.port: int = self._place.getsockname()[1]
        self._program = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.bed.proxy", str(target), str(self.port)],
            env=processes.environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._read_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def lead_to(self, target: Path | str) -> None:
        self._tell(f"{proxy.TO} {target}")

    def cut(self) -> None:
        """Every open connection breaks; new ones are taken."""
        self._tell(proxy.CUT)

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Every open connection breaks, and meanwhile no new one is taken."""
        with self._while(proxy.REFUSE):
            yield

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Meanwhile it takes connections and bytes, and passes nothing on; afterwards all of it."""
        with self._while(proxy.HANG):
            yield

    @contextlib.contextmanager
    def delaying_commits(self) -> Iterator[None]:
        """Meanwhile a COMMIT arrives proxy.DELAY_SECONDS after it was sent."""
        with self._while(proxy.DELAY):
            yield

    def close(self) -> None:
        self._program.kill()
        self._program.communicate()
        self._place.close()

    @contextlib.contextmanager
    def _while(self, command: str) -> Iterator[None]:
        self._tell(command)
        try:
            yield
        finally:
            self._tell(proxy.PASS)

    def _tell(self, command: str) -> None:
        assert self._program.stdin is not None
        try:
            self._program.stdin.write(f"{command}\n".encode())
            self._program.stdin.flush()
        except BrokenPipeError:
            raise Gone from None
        self._read_line()

    def _read_line(self) -> None:
        assert self._program.stdout is not None
        if not self._program.stdout.readline():
            raise Gone
