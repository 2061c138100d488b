"""Who is measured: a server on the server's core, its database on the other."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import requests

from tests.bed.postgres import Postgres
from tests.bed.web import Web
from tests.bench import machine, peers
from tests.bench.background import Background
from tests.bench.ledgers import Ledger
from tests.bench.peers import Peer
from tests.bench.post import SECRET_KEY, signer

THREADS = 32
LEDGER = "tests.bench.quiet:web()"
WATCHED_LEDGER = "tests.bench.quiet:watched()"
PAGES = "tests.bench.quiet:pages()"
LEDGER_CONFIG = "python:tests.bench.gunicorn_conf"
LAG_SECONDS = 10  # to be told the lags
REST_SECONDS = 20  # at most, for what is left to do after a slice
LOOK_SECONDS = 0.5  # a look at whether it rests
RESTING = 0.1  # of a core at most
WAL_FILES = 128
WAL_SETTINGS = {"min_wal_size": "2GB", "max_wal_size": "4GB"}  # so many files of 16 MiB are used again


@dataclass(frozen=True)
class Contestant:
    """`ledger` None: it stores nothing. `background` is what goes on beside each of its slices.

    `is_watched`: it knows the lags of its event loop.
    """

    name: str
    web: Web
    ledger: Ledger | None = None
    background: Background | None = None
    is_watched: bool = False

    @property
    def port(self) -> int:
        return self.web.address[1]

    def cpu_seconds(self) -> float:
        """Used so far by the server's processes; the database's are not among them."""
        master = psutil.Process(self.web.master_pid)
        used = 0.0
        for process in [master, *master.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                used += times.user + times.system
        return used

    def rest(self) -> None:
        """Once it has done what a slice left to do (deadlines, alerts): the others' turns are on its core."""
        end = time.monotonic() + REST_SECONDS
        while time.monotonic() < end:
            used, began = self.cpu_seconds(), time.monotonic()
            time.sleep(LOOK_SECONDS)
            if self.cpu_seconds() - used < RESTING * (time.monotonic() - began):
                return

    def lags(self) -> list[float]:
        """How many seconds late its event loop was, each time since this was last asked; ascending."""
        if not self.is_watched:
            return []
        return sorted(requests.get(f"{self.web.url}/lag", timeout=LAG_SECONDS).json()["lags"])


@contextmanager
def running(
    name: str,
    app: str = LEDGER,
    ledger: Ledger | None = None,
    *,
    threads: int = THREADS,
    workers: int = 1,
    preload: Path | None = None,
    background: Background | None = None,
) -> Iterator[Contestant]:
    """An app under gunicorn: the ledger as it ships; others by `sync` (one thread) or `gthread`."""
    config = LEDGER_CONFIG if app in (LEDGER, WATCHED_LEDGER, PAGES) else None
    web = Web({}, workers=workers, threads=threads, app=app, config=config)
    web.env |= {"THREADS": str(threads), "WEB_CONCURRENCY": str(workers)}
    if preload:
        web.env["LD_PRELOAD"] = str(preload)
    with _started(web, ledger):
        yield Contestant(name, web, ledger, background, is_watched=app == WATCHED_LEDGER)


@contextmanager
def running_peer(peer: Peer, ledger: Ledger) -> Iterator[Contestant]:
    web = PeersWeb(peer)
    web.env |= peers.environment(ledger.url)
    with _started(web, ledger):
        yield Contestant(peer.name, web, ledger)


@contextmanager
def _started(web: Web, ledger: Ledger | None) -> Iterator[None]:
    with contextlib.closing(web):
        spool = web.folder / "spool"
        spool.mkdir()
        web.env |= {
            "PUBLIC_URL": "http://127.0.0.1",
            "SECRET_KEY": SECRET_KEY,
            "DATABASE_URL": ledger.url if ledger else "sqlite:///:memory:",
            "SPOOL_DIR": str(spool),
            "TELNYX_API_KEY": "none",
            "TELNYX_PUBLIC_KEY": signer.public_key,
            "TELNYX_BASE_URL": "http://127.0.0.1:9/v2",  # where nobody is
        }
        with machine.on_core(machine.SERVER_CORE):
            web.start()
        yield


class PeersWeb(Web):
    """A server that is one process and binds its port itself."""

    def __init__(self, peer: Peer) -> None:
        super().__init__({}, workers=0)  # none but the process itself
        self._peer = peer

    def _command(self, descriptor: int) -> list[str]:
        return self._peer.command(self.address[1])


class PinnedPostgres(Postgres):
    """On the load's core. `memory` is a folder in memory to keep its data in; `preload` a library."""

    def __init__(self, memory: Path | None = None, preload: Path | None = None) -> None:
        super().__init__()
        self._lent = None  # a server of somebody else's can be neither pinned nor slowed
        self._memory = memory
        self._preload = preload

    def start(self) -> None:
        with machine.on_core(machine.LOAD_CORE):
            super().start()
            if not self._memory:  # where a new one takes no time
                self._make_wal_files()

    def create_database(self, template: str | None = None) -> str:
        return super().create_database(template).replace("postgresql:", "postgresql+psycopg:", 1)

    def _make_folder(self) -> None:
        super()._make_folder()
        if self._memory:
            data = self.folder / "data"
            subprocess.run(["cp", "-a", data, self._memory], check=True)  # with its owner
            shutil.rmtree(data)
            data.symlink_to(self._memory / "data")

    def _make_wal_files(self) -> None:
        """As a server has them that runs for days: while one is made, nobody commits."""
        with psycopg.connect(self.url, autocommit=True) as db:
            for _ in range(WAL_FILES):
                db.execute("SELECT pg_logical_emit_message(false, '', '')")  # or there is nothing to switch
                db.execute("SELECT pg_switch_wal()")
            db.execute("CHECKPOINT")

    def _command(self) -> list[str | Path]:
        settings = [f"--{name}={value}" for name, value in WAL_SETTINGS.items()]
        command = [*super()._command(), *settings]
        return ["env", f"LD_PRELOAD={self._preload}", *command] if self._preload else command
