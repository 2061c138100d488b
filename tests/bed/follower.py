"""`siprec-ledger follow` as a program of its own, and what it has printed so far."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.bed import processes

END_SECONDS = 30


class Follower:
    """From `__enter__` on; `arguments` as on its command line, `settings` are its whole environment."""

    def __init__(self, url: str, key: str, *arguments: str, **settings: str) -> None:
        self._command = processes.ledger_command("follow", *arguments)
        self._env = processes.environment({"LEDGER_URL": url, "LEDGER_KEY": key, **settings})
        self._folder = tempfile.TemporaryDirectory(prefix="bed-follow-")
        self._out, self._err = (Path(self._folder.name) / name for name in ("out", "err"))

    def __enter__(self) -> Self:
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                self._command, cwd="/", env=self._env, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._folder.cleanup()

    @property
    def output(self) -> str:
        return self._out.read_text()

    @property
    def errors(self) -> str:
        return self._err.read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        """With --json: those that are printed whole."""
        return [json.loads(line) for line in self.output.splitlines(keepends=True) if line.endswith("\n")]

    def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        return self.process.wait(END_SECONDS)
