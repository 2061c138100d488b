"""Who is measured: an app under gunicorn on the server's core, its database on the other."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bed.postgres import Postgres
from tests.bed.web import Web
from tests.bench import machine
from tests.bench.ledgers import Ledger
from tests.bench.post import SECRET_KEY, signer

THREADS = 32
LEDGER = "service.app:web()"


@dataclass(frozen=True)
class Contestant:
    """`ledger` None: it stores nothing."""

    name: str
    web: Web
    ledger: Ledger | None = None

    @property
    def port(self) -> int:
        return self.web.address[1]


@contextmanager
def running(
    name: str,
    app: str = LEDGER,
    ledger: Ledger | None = None,
    threads: int = THREADS,
    preload: Path | None = None,
) -> Iterator[Contestant]:
    """With one thread gunicorn takes its `sync` worker, with several `gthread`."""
    config = "python:tests.bench.gunicorn_conf" if app == LEDGER else None
    with ExitStack() as stack:
        web = Web({}, threads=threads, app=app, config=config)
        stack.callback(web.close)
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
            "THREADS": str(threads),
        }
        if preload:
            web.env["LD_PRELOAD"] = str(preload)
        with machine.on_core(machine.SERVER_CORE):
            web.start()
        yield Contestant(name, web, ledger)


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

    def create_database(self, template: str | None = None) -> str:
        return super().create_database(template).replace("postgresql:", "postgresql+psycopg:", 1)

    def _make_folder(self) -> None:
        super()._make_folder()
        if self._memory:
            data = self.folder / "data"
            subprocess.run(["cp", "-a", data, self._memory], check=True)  # with its owner
            shutil.rmtree(data)
            data.symlink_to(self._memory / "data")

    def _command(self) -> list[str | Path]:
        command = super()._command()
        return ["env", f"LD_PRELOAD={self._preload}", *command] if self._preload else command
