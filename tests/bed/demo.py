"""The demo as a program of its own, as whoever tries it starts it."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bed import processes

READY_SECONDS = 180
LINK, BUTTONS = "/log-in/", "Beside it, the page with the buttons"


class DemoFailed(Exception):
    """Carries what it printed."""


class Demo:
    """`link` logs in to the ledger's page, once; `page` is where the buttons are."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bed-demo-")
        self._printed: list[str] = []
        self.link = self.page = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            processes.ledger_command("demo"),
            cwd=self._folder.name,
            env=processes.environment({"TMPDIR": self._folder.name}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._guard = processes.Guard(self._process, folder=Path(self._folder.name))
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        try:
            self.wait_for(lambda lines: any("Serving until Ctrl-C" in line for line in lines))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.link = next(line.strip() for line in self._printed if LINK in line)
        at = next(number for number, line in enumerate(self._printed) if BUTTONS in line)
        self.page = self._printed[at + 1].strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(READY_SECONDS)
        finally:
            processes.send_to_group(self._process.pid)
            self._process.wait()
            self._guard.release()
            self._reading.join()
            self._folder.cleanup()

    @property
    def printed(self) -> str:
        return "".join(self._printed)

    def wait_for(self, is_so: Callable[[list[str]], bool], seconds: float = READY_SECONDS) -> None:
        """Until it has printed that. Raises DemoFailed."""
        give_up = time.monotonic() + seconds
        while not is_so(list(self._printed)):
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise DemoFailed(self.printed)
            time.sleep(0.05)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._printed.append(line.decode(errors="replace"))
