"""`siprec-ledger login`: a link that logs in to the pages, for whoever has the database."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import click

from service.commands.database import database_url_option, open_database
from service.store import keys, log_ins


@click.command()
@click.option(
    "--key", "name", required=True, help="The name of the API key to log in as: its scopes, its accounts."
)
@click.option(
    "--url",
    default=lambda: os.environ.get("INTERNAL_URL") or os.environ.get("PUBLIC_URL") or "",
    help="Where browsers reach the pages. Default: INTERNAL_URL, else PUBLIC_URL.",
)
@database_url_option
def login(name: str, url: str, database_url: str) -> None:
    """Print a link that logs in to the pages as a key does, once, within 10 minutes."""
    now = datetime.now(UTC)
    with open_database(database_url) as database, database.begin() as db:
        key = keys.named(db, name)
        if key is None or not key.is_in_force(now):
            raise click.ClickException(f"there is no key in force of this name: {name}")
        text = log_ins.make_link(db, key.id, now)
    click.echo(f"{url.rstrip('/')}/log-in/{text}")
