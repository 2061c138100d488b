"""What the figures come from: the machine, its cores, and the programs that are compiled for it."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import text

from service.store.engine import Database
from tests.bed import programs

HERE = Path(__file__).parent
CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]


class Missing(Exception):
    """Something that the bench needs and does not install."""


@dataclass(frozen=True)
class Compiled:
    load: Path  # sends requests
    slow_sync: Path  # to preload: makes every fsync slower


def compile_all(folder: Path) -> Compiled:
    """Raises Missing. PostgreSQL, which may run as somebody else, must be able to read `folder`."""
    if sys.platform != "linux":
        raise Missing("Linux")
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise Missing("a C compiler (cc; on Debian: apt-get install gcc libc6-dev)")
    compiled = Compiled(folder / "load", folder / "slow_sync.so")
    jobs = {"load.c": (compiled.load, "-lm"), "slow_sync.c": (compiled.slow_sync, "-shared", "-fPIC")}
    for source, (product, *options) in jobs.items():
        command = [compiler, "-O2", HERE / source, "-o", product, *options]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Missing(f"a C compiler that works: {done.stderr}")
    return compiled


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started in here stays on this core, with all its threads and children."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class Meter:
    """How busy the two cores were while something ran, each between 0 and 1, whoever kept them so."""

    server: float = 0
    load: float = 0
    used: float = 0  # CPU seconds, as `cpu_seconds` counts them

    @contextmanager
    def running(self, cpu_seconds: Callable[[], float]) -> Iterator[None]:
        used = cpu_seconds()
        began, before = time.monotonic(), psutil.cpu_times(percpu=True)
        yield
        seconds, after = time.monotonic() - began, psutil.cpu_times(percpu=True)
        self.used = cpu_seconds() - used
        idle = [(a.idle + a.iowait) - (b.idle + b.iowait) for a, b in zip(after, before, strict=True)]
        self.server, self.load = (max(0, 1 - idle[core] / seconds) for core in (SERVER_CORE, LOAD_CORE))


def describe(folder: Path) -> dict[str, str]:
    """In words; `folder` is where the databases are."""
    return {
        "CPU": f"{_cpu()}, {len(CORES)} cores",
        "cores": f"servers on core {SERVER_CORE}; load program, readers, forgers, slow clients and "
        f"PostgreSQL on core {LOAD_CORE}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
        "SQLite": _sqlite(folder),
        "PostgreSQL": _postgresql(folder),
        "fdatasync": f"{_milliseconds_to_sync(folder):.2f} ms (median, 4 KiB)",
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _sqlite(folder: Path) -> str:
    database = Database(f"sqlite:///{folder}/version.sqlite3")
    with database.read() as db:
        version = str(db.scalar(text("SELECT sqlite_version()")))
    database.close()
    return version


def _postgresql(folder: Path) -> str:
    command: list[str | Path] = [programs.find(folder) / "postgres", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, **programs.as_who())
    return str(done.stdout).split()[-1]


def _milliseconds_to_sync(folder: Path, times: int = 200) -> float:
    taken = []
    with (folder / "sync").open("wb") as file:
        for _ in range(times):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000
