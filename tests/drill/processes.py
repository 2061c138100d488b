"""What the drill starts: found, ended, and never left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
COMMAND_SECONDS = 60
GRACE_SECONDS = 2

# All that an operator's environment may say; above all none of his TELNYX_*, DATABASE_URL and PG*.
KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")


class CommandFailed(Exception):
    """Carries what it said."""


class Guard:
    """Ends the groups of processes and removes the folders that were told to it, if the drill dies by itself.

    All that it waits for is the end of the pipe to it, which comes however the drill dies; or `release`.
    """

    def __init__(self) -> None:
        self._program = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the drill
        )

    def remove(self, folder: Path) -> None:
        self._say(f"{folder}\n")

    def watch(self, group: int) -> None:
        self._say(f"{group}\n")

    def forget(self, group: int) -> None:
        self._say(f"-{group}\n")

    def release(self) -> None:
        self._say("released\n")
        self._program.communicate()

    def _say(self, line: str) -> None:
        assert self._program.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._program.stdin.write(line.encode())
            self._program.stdin.flush()


def environment(**settings: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "PYTHONPATH": str(CHECKOUT), **settings}


def ledger_command(*arguments: str) -> list[str]:
    """`siprec-ledger …`, whose script may lie anywhere; this interpreter can surely run it."""
    return [sys.executable, "-c", "from service.cli import main; main()", *arguments]


def run_ledger(folder: Path, settings: Mapping[str, str], *arguments: str) -> str:
    """What `siprec-ledger …` prints. Raises CommandFailed."""
    try:
        done = subprocess.run(
            ledger_command(*arguments),
            cwd=folder,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired as late:
        raise CommandFailed(f"siprec-ledger {arguments[0]} did not end in {COMMAND_SECONDS} s") from late
    if done.returncode:
        raise CommandFailed(f"siprec-ledger {arguments[0]} failed:\n{done.stderr[-2000:]}")
    return done.stdout.strip()


def children(pid: int) -> list[int]:
    return sorted(child for child, parent in _parents() if parent == pid)


def kill_group(group: int, number: signal.Signals = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _parents() -> Iterator[tuple[int, int]]:
    """(process, its parent) of all that run."""
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
        yield from ((int(pid), int(parent)) for pid, parent in map(str.split, listed.stdout.splitlines()))
        return
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # after the name, which may hold anything: state, parent
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    yield int(entry.name), int(parent)


def _guard(lines: Sequence[str]) -> None:
    if "released" in lines:
        return
    folders = {line for line in lines if line.startswith("/")}
    groups = {int(line) for line in lines if line.isdigit()}
    groups -= {-int(line) for line in lines if line.startswith("-")}
    for group in groups:
        kill_group(group, signal.SIGQUIT)  # at which PostgreSQL and gunicorn end at once and tidy up
    time.sleep(GRACE_SECONDS)
    for group in groups:
        kill_group(group)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _guard(sys.stdin.read().splitlines())
