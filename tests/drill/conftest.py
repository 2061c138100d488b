"""The drill as an operator runs it: a program of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bed.web import CHECKOUT

LONGEST_SECONDS = 240

Drill = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """TMPDIR of the drills."""
    with tempfile.TemporaryDirectory(prefix="drills-") as folder:
        yield Path(folder)


@pytest.fixture
def begin(scratch: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `python -m tests.drill …`."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [sys.executable, "-m", "tests.drill", *arguments],
            env={**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": str(CHECKOUT)},
            cwd=scratch,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        begun.append(program)
        return program

    yield start
    for program in begun:
        if program.poll() is None:
            program.send_signal(signal.SIGINT)
            program.communicate()


@pytest.fixture
def drill(begin: Callable[..., subprocess.Popen[str]]) -> Drill:
    """Run it to its end, which is no later than LONGEST_SECONDS."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = begin(*arguments)
        try:
            said, _ = program.communicate(timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            program.send_signal(signal.SIGINT)
            said, _ = program.communicate()
            pytest.fail(f"it took too long:\n{said}")
        return subprocess.CompletedProcess(program.args, program.returncode, said)

    return run
