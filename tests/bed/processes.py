"""Processes that a test starts: their children, and that none outlives the test run."""

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

PATIENCE_SECONDS = 5


class Guard:
    """Ends `process` with its children, and removes `folder`, if this test run dies before `release`.

    However it dies, its end of the pipe closes, which is all that the guard waits for. The kernel's own
    "parent died" signal would not do: it comes when the *thread* dies that started the process.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._program = subprocess.Popen(
            [sys.executable, "-P", __file__, str(process.pid), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the test run
        )

    def release(self) -> None:
        self._program.communicate(b"released")


def children(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children()
    return []


def end(process: psutil.Process) -> None:
    """Kill a process and its children; a stopped one too."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        for member in family:
            with _if_alive():
                member.send_signal(signal.SIGCONT)
        with _if_alive():
            process.send_signal(signal.SIGQUIT)  # at which PostgreSQL and gunicorn end at once and tidy up
        _, left = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
        for member in left:
            with _if_alive():
                member.kill()


@contextlib.contextmanager
def _if_alive() -> Iterator[None]:
    with contextlib.suppress(psutil.NoSuchProcess):
        yield


def main() -> None:
    process = None
    with contextlib.suppress(psutil.NoSuchProcess):
        # Looked up before waiting: psutil then knows a stranger who was given the same id later.
        process = psutil.Process(int(sys.argv[1]))
    if sys.stdin.read():
        return
    if process:
        end(process)
    shutil.rmtree(sys.argv[2], ignore_errors=True)


if __name__ == "__main__":
    main()
