"""The database that a command works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import click

from service import config
from service.store.engine import Database, DatabaseError, DatabaseUnusable


@contextmanager
def open_database(url: str) -> Iterator[Database]:
    """What is wrong with it is told plainly."""
    try:
        with closing(Database(url)) as database:
            yield database
    except DatabaseError as error:
        raise click.ClickException(f"the database does not answer: {error}") from error
    except DatabaseUnusable as error:
        raise click.ClickException(str(error)) from error


def _checked(_context: click.Context, _parameter: click.Parameter, url: str) -> str:
    try:
        return config.database_url(url)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong)) from wrong


database_url_option = click.option(
    "--database-url",
    envvar="DATABASE_URL",
    required=True,
    callback=_checked,
    help="Default: the environment's DATABASE_URL.",
)
