"""`make drill`: breaks a service that it starts for that, and counts what it kept."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any

import click

from tests.bed import pgbouncer, postgres, web
from tests.bed.processes import CommandFailed, Guard
from tests.drill.display import Display
from tests.drill.drill import Drill, Result
from tests.drill.faults import FAULTS
from tests.drill.faults.fault import Fault
from tests.drill.ledger import Ledger, NotForDrills
from tests.drill.postgresql import Postgresql
from tests.drill.servers import Servers
from tests.drill.sqlite import Sqlite
from tests.drill.starts import CannotStart
from tests.drill.table import notes, offences, table
from tests.drill.telnyx import SandboxTrouble

APP = "service.app:web()"
TROUBLES = (
    NotForDrills,
    CommandFailed,
    CannotStart,
    SandboxTrouble,
    postgres.DidNotStart,
    web.DidNotStart,
    pgbouncer.DidNotStart,
)


class Faults(click.ParamType[tuple[Fault, ...]]):
    name = "FAULT,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Fault, ...]:
        if isinstance(value, tuple):
            return value
        known = {fault.name: fault for fault in FAULTS}
        wanted = {
            pattern: [name for name in known if fnmatchcase(name, pattern)]
            for pattern in map(str.strip, value.split(","))
        }
        if unknown := [pattern for pattern, names in wanted.items() if not names]:
            self.fail(f"{', '.join(unknown)}: no such fault; there are {', '.join(known)}", param, ctx)
        return tuple(known[name] for name in dict.fromkeys(chain.from_iterable(wanted.values())))


@click.command(
    epilog="\b\nFaults:\n" + "\n".join(f"  {fault.name.ljust(18)}{fault.about}" for fault in FAULTS)
)
@click.option("--callbacks", default=5000, show_default=True, type=click.IntRange(1, 400_000), help="In all.")
@click.option(
    "--faults",
    type=Faults(),
    default=FAULTS,
    help="Only these, in this order; primary-* and the like name several.",
    show_default="all",
)
@click.option("--seed", type=int, help="Sends the same as another drill with this seed did.")
@click.option(
    "--database-url",
    help="An empty database, which from then on is for drills only. Default: an SQLite file of its own.",
)
@click.option("--postgresql", is_flag=True, help="Start a PostgreSQL server for the drill, and end it.")
@click.option("--app", default=APP, hidden=True, help="What gunicorn serves.")
def drill(
    callbacks: int,
    faults: tuple[Fault, ...],
    seed: int | None,
    database_url: str | None,
    postgresql: bool,
    app: str,
) -> None:
    """Break the service while callbacks come, and count what it kept.

    Starts the service, a Telnyx and what else it needs on this machine, and ends them. Fails if a callback
    that was answered 200 is lost, not shown or stored twice, or a session ends in a wrong state. The
    environment's settings are not used: no ledger but the drill's own is touched.
    """
    if database_url and postgresql:
        raise click.UsageError("--postgresql starts a server, --database-url names one: not both")
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    click.echo(f"seed {seed}")
    display = Display()
    try:
        with _folder() as folder, closing(_ledger(database_url, postgresql, folder)) as ledger:
            result = Drill(folder, ledger, app, seed, display).run(faults, callbacks)
            display.end()
            found = _show(result, faults)
            if found:
                raise SystemExit(1)
    except TROUBLES as trouble:
        raise click.ClickException(str(trouble)) from trouble


def _ledger(database_url: str | None, postgresql: bool, folder: Path) -> Ledger:
    if postgresql:
        return Servers()
    if database_url is None:
        return Sqlite(folder / "ledger.sqlite3")
    if database_url.startswith("sqlite:///"):
        return Sqlite(Path(database_url.removeprefix("sqlite:///")).absolute())
    if database_url.partition("://")[0] in {"postgres", "postgresql", "postgresql+psycopg"}:
        return Postgresql.lent(database_url)
    raise NotForDrills("--database-url must begin with sqlite:///, postgresql:// or postgres://")


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for all that the drill writes. It stays if something was found, to be looked at."""
    folder = Path(tempfile.mkdtemp(prefix="siprec-ledger-drill-"))
    guard = Guard(folder=folder)
    try:
        yield folder
    except SystemExit:
        click.echo(f"The service's log and files are left in {folder}", err=True)
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        guard.release()


def _show(result: Result, faults: tuple[Fault, ...]) -> list[str]:
    click.echo(table(result, faults))
    for line in notes(result):
        click.echo(line)
    found = offences(result)
    for line in found:
        click.echo(f"  {line}")
    return found


if __name__ == "__main__":
    drill()
