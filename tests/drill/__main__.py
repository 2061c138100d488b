"""`make drill`: breaks a service that it starts for that, and counts what it kept."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from tests.drill.drill import Drill, Result
from tests.drill.faults import FAULTS, Fault
from tests.drill.ledger import Ledger, NotForDrills
from tests.drill.postgresql import Postgresql
from tests.drill.processes import CommandFailed, Guard
from tests.drill.progress import Progress
from tests.drill.server import NoServer, Server
from tests.drill.sqlite import Sqlite
from tests.drill.starts import CannotStart
from tests.drill.table import SHOWN, notes, offences, table
from tests.drill.telnyx import SandboxTrouble
from tests.drill.web import APP, DidNotStart

TROUBLES = (NotForDrills, CommandFailed, NoServer, CannotStart, SandboxTrouble, DidNotStart)


class Faults(click.ParamType[tuple[Fault, ...]]):
    name = "FAULT,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Fault, ...]:
        if isinstance(value, tuple):
            return value
        known = {fault.name: fault for fault in FAULTS}
        wanted = [name.strip() for name in value.split(",")]
        unknown = [name for name in wanted if name not in known]
        if unknown:
            self.fail(f"{', '.join(unknown)}: no such fault; there are {', '.join(known)}", param, ctx)
        return tuple(known[name] for name in dict.fromkeys(wanted))


@click.command(
    epilog="\b\nFaults:\n" + "\n".join(f"  {fault.name.ljust(18)}{fault.about}" for fault in FAULTS)
)
@click.option("--callbacks", default=5000, show_default=True, type=click.IntRange(1, 400_000), help="In all.")
@click.option(
    "--faults", type=Faults(), default=FAULTS, help="Only these, in this order.", show_default="all"
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
    that was answered 200 is lost or stored twice, or a session ends in a wrong state. The environment's
    settings are not used: no ledger but the drill's own is touched.
    """
    if database_url and postgresql:
        raise click.UsageError("--postgresql starts a server, --database-url names one: not both")
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    click.echo(f"seed {seed}")
    progress = Progress()
    try:
        with _folder() as (folder, guard), ExitStack() as opened:
            ledger = _ledger(database_url, postgresql, folder, guard, opened)
            result = Drill(folder, ledger, guard, app, seed, progress).run(faults, callbacks)
            progress.end()
            found = _show(result, faults)
            if found:
                raise SystemExit(1)
    except TROUBLES as trouble:
        raise click.ClickException(str(trouble)) from trouble


def _ledger(
    database_url: str | None, postgresql: bool, folder: Path, guard: Guard, opened: ExitStack
) -> Ledger:
    if postgresql:
        server = Server(guard)
        opened.callback(server.close)
        server.make()
        ledger: Ledger = Postgresql(server.url, folder, guard, server)
    elif database_url is None:
        ledger = Sqlite(folder / "ledger.sqlite3")
    elif database_url.startswith("sqlite:///"):
        ledger = Sqlite(Path(database_url.removeprefix("sqlite:///")).absolute())
    elif database_url.partition("://")[0] in {"postgres", "postgresql", "postgresql+psycopg"}:
        ledger = Postgresql(database_url, folder, guard)
    else:
        raise NotForDrills("--database-url must begin with sqlite:///, postgresql:// or postgres://")
    opened.callback(ledger.close)
    return ledger


@contextmanager
def _folder() -> Iterator[tuple[Path, Guard]]:
    """A folder for all that the drill writes. It stays if something was found, to be looked at."""
    folder = Path(tempfile.mkdtemp(prefix="siprec-ledger-drill-"))
    guard = Guard()
    guard.remove(folder)
    try:
        yield folder, guard
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
    for line in found[:SHOWN]:
        click.echo(f"  {line}")
    if len(found) > SHOWN:
        click.echo(f"  and {len(found) - SHOWN} more")
    return found


if __name__ == "__main__":
    drill()
