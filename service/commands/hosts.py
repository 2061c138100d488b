"""`siprec-ledger hosts …`: which hosts there are, what waits on their disks, and which never come back."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime

import click

from service.commands.database import database_url_option, open_database
from service.ledger import hosts as ledger_hosts
from service.ledger.hosts import HostAlive, UnknownHost
from service.store import hosts
from service.store.columns import written_out
from service.store.events import OPERATOR


@click.group("hosts")
def hosts_group() -> None:
    """The hosts that take callbacks, and what waits on their disks."""


@hosts_group.command("list")
@database_url_option
def list_(database_url: str) -> None:
    """One JSON document per line. Times are UTC; `processes` were alive in the last 15 seconds."""
    with open_database(database_url) as database, database.read() as db:
        for host in hosts.all(db):
            shown = {name: _shown(value) for name, value in asdict(host).items()}
            click.echo(json.dumps({"host": shown.pop("name"), **shown}))


@hosts_group.command()
@click.argument("name")
@database_url_option
def retire(name: str, database_url: str) -> None:
    """Say that the host NAME never comes back: nobody waits for the callbacks on its disk any more.

    Nothing is deleted. Should it come back, it is in service again, and what waits there is written.
    """
    with open_database(database_url) as database:
        try:
            with database.begin() as db:
                host, is_new = ledger_hosts.retire(db, name, OPERATOR)
        except UnknownHost:
            raise click.ClickException(f"no host of this name has a spool: {name}") from None
        except HostAlive as alive:
            seen = written_out(alive.seen_at)
            raise click.ClickException(f"{name} is alive, seen at {seen}: nothing was done") from None
    if not is_new:
        click.echo(f"was retired already: {name}")
        return
    seen = written_out(host.seen_at) if host.seen_at else "never"
    click.echo(f"retired: {name}, seen last at {seen}, callbacks that waited there then: {host.entries}")


def _shown(value: object) -> object:
    return written_out(value) if isinstance(value, datetime) else value
