"""Processes that tests and tools start: what they are told, their children, and that none is left behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

CHECKOUT = Path(__file__).parents[2]
PATIENCE_SECONDS = 5
COMMAND_SECONDS = 60

# All that a developer's own environment may say; above all none of his TELNYX_*, DATABASE_URL and PG*.
KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")


class CommandFailed(Exception):
    """Carries what it said."""


class Guard:
    """Ends `process` with its children, and removes `folder`, if we die before `release`.

    However we die, our end of the pipe closes, which is all that the guard waits for. The kernel's own
    "parent died" signal would not do: it comes when the *thread* dies that started the process.
    """

    def __init__(self, process: subprocess.Popen[bytes] | None = None, *, folder: Path | None = None) -> None:
        self._program = subprocess.Popen(
            [sys.executable, "-P", __file__, str(process.pid if process else ""), str(folder or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us
        )

    def release(self) -> None:
        self._program.communicate(b"released")


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """For a program that imports this checkout: `settings`, and of our own environment only KEPT."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "PYTHONPATH": str(CHECKOUT), **settings}


def ledger_command(*arguments: str) -> list[str]:
    """`siprec-ledger …`, whose script may lie anywhere; this interpreter can surely run it."""
    return [sys.executable, "-c", "from service.cli import main; main()", *arguments]


def run_ledger(settings: Mapping[str, str], *arguments: str) -> str:
    """What `siprec-ledger …` prints. Raises CommandFailed."""
    try:
        done = subprocess.run(
            ledger_command(*arguments),
            cwd="/",
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired as late:
        raise CommandFailed(f"siprec-ledger {arguments[0]} did not end in {COMMAND_SECONDS} s") from late
    if done.returncode:
        raise CommandFailed(f"siprec-ledger {arguments[0]} failed:\n{done.stderr[-2000:]}")
    return done.stdout.strip()


def children(pid: int) -> list[psutil.Process]:
    """Those that run; one that has ended and was not waited for is none."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child for child in psutil.Process(pid).children() if _runs(child)]
    return []


def send_to_group(leader: int, number: signal.Signals = signal.SIGKILL) -> None:
    """To a process that was started in a session of its own, and to what is left of its children."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


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


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


@contextlib.contextmanager
def _if_alive() -> Iterator[None]:
    with contextlib.suppress(psutil.NoSuchProcess):
        yield


def _remove(folder: str) -> None:
    """Somebody else's guard may only be about to end those who write into it."""
    give_up = time.monotonic() + 2 * PATIENCE_SECONDS
    while Path(folder).exists() and time.monotonic() < give_up:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)


def main() -> None:
    pid, folder = sys.argv[1:]
    process = None
    if pid:
        with contextlib.suppress(psutil.NoSuchProcess):
            # Looked up before waiting: psutil then knows a stranger who was given the same id later.
            process = psutil.Process(int(pid))
    if sys.stdin.read():
        return
    if process:
        end(process)
    if folder:
        _remove(folder)


if __name__ == "__main__":
    main()
