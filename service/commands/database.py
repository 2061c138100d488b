"""`siprec-ledger db …`: the schema, copies and readers of the database; and how every command finds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import click

from service import setting_values
from service.store import backup as backups
from service.store import contents, reader_role, schema
from service.store.backup import BackupFailed, NotSqlite
from service.store.columns import written_out
from service.store.contents import Contents
from service.store.engine import Database, DatabaseError, DatabaseUnusable
from service.store.reader_role import NoReports

RESTORE: Final = """
A restore puts the ledger back to that moment:
- Callbacks, sessions and events of later are gone from it, also those that were answered 200.
- A cursor goes on where it was, in what is there then; one of the feed that is later is answered 409.
- An Idempotency-Key of later is unknown again: the same request would start a second recording.
- What waits in SPOOL_DIR is written as ever; what was drained since the copy is not in the spool any more.
- Keys made later open nothing, and keys revoked later open again: revoke them once more.
- Telnyx still calls back for sessions of later: the callbacks are kept, and adopt sessions with new ids.
To do it: stop every process; move the database, its -wal and its -shm away; copy the file to where
DATABASE_URL says; siprec-ledger db upgrade; start."""


NOTHING_YET: Final = (
    "Nothing is copied yet: run this line. pg_dump asks for the password, or finds it in ~/.pgpass."
)


@contextmanager
def open_database(url: str) -> Iterator[Database]:
    try:
        with closing(Database(url)) as database:
            yield database
    except DatabaseError as error:
        raise click.ClickException(f"the database does not answer: {error}") from error
    except DatabaseUnusable as error:
        raise click.ClickException(str(error)) from error


def _checked(_context: click.Context, _parameter: click.Parameter, url: str | None) -> str | None:
    try:
        return url if url is None else setting_values.database_url(url)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong)) from wrong


database_url_option = click.option(
    "--database-url",
    envvar="DATABASE_URL",
    required=True,
    callback=_checked,
    help="Default: the environment's DATABASE_URL.",
)


@click.group()
def db() -> None:
    """The schema of the database, copies of it, and who may read it."""


@db.command()
@database_url_option
def upgrade(database_url: str) -> None:
    """Bring the schema up to date. Several processes may do so at once."""
    with open_database(database_url) as database:
        schema.upgrade(database)
        with database.read() as read:
            click.echo(f"the schema is {schema.age(read)}")


@db.command()
@click.argument("path", type=click.Path(path_type=Path))
@database_url_option
def backup(path: Path, database_url: str) -> None:
    """Copy the database to PATH, a new file, while the service runs.

    SQLite only. For PostgreSQL this copies nothing: it prints the line of pg_dump to run, without a password.

    Ends with 0 once the copy is whole and on disk (or the line is printed); with 1 if there is no copy;
    with 2 if it was asked for wrongly.
    """
    try:
        if live := backups.sqlite_file(database_url):
            held = backups.copy(live, path)
            click.echo(f"copied to {path}: {_counted(held)}")
        else:
            backups.refuse_to_overwrite(path)
            click.echo(backups.pg_dump(database_url, path.absolute()))
            click.echo(NOTHING_YET, err=True)
    except BackupFailed as error:
        raise click.ClickException(f"there is no copy: {error}") from error
    except DatabaseUnusable as error:
        raise click.ClickException(str(error)) from error


@db.command()
@click.argument("name")
@database_url_option
def reader(name: str, database_url: str) -> None:
    """Print the SQL that makes NAME a role which may read the reports, and nothing else. It changes nothing.

    PostgreSQL only. The role sees the sessions of all accounts.
    """
    if not reader_role.NAME.fullmatch(name):
        raise click.BadParameter(
            "use lower-case letters, digits and _; not pg_ to begin with", param_hint="NAME"
        )
    with open_database(database_url) as database:
        if database.is_sqlite:
            raise click.ClickException(
                "SQLite has no roles: give readers a copy (siprec-ledger db backup PATH)"
            )
        try:
            with database.read() as read:
                statements = reader_role.sql(read, name)
        except NoReports as error:
            raise click.ClickException(str(error)) from error
    click.echo(statements, nl=False)


@db.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--check", is_flag=True, help="Required: nothing but looking is done.")
@click.option(
    "--database-url",
    envvar="DATABASE_URL",
    callback=_checked,
    help="A ledger to compare the copy with. Default: the environment's DATABASE_URL, if it is set.",
)
def restore(path: Path, check: bool, database_url: str | None) -> None:
    """Say whether the copy of SQLite at PATH is whole, and what putting it back would mean.

    Ends with 0 if it is whole; with 1 if it is not, or cannot be looked into; with 2 if asked for wrongly.
    """
    if not check:
        raise click.UsageError("Nothing is put back by this command. --check looks, and says what to do.")
    try:
        found = backups.check(path)
    except (NotSqlite, OSError) as error:
        raise click.ClickException(f"{path} cannot be looked into: {error}") from error
    if found.contents is not None and found.contents.revision is not None:
        click.echo(f"schema: {found.contents.revision} ({found.contents.age})")
        click.echo(f"it holds {_counted(found.contents)}")
    if found.problems:
        listed = "\n".join(f"- {problem}" for problem in found.problems)
        raise click.ClickException(f"the copy is not whole:\n{listed}")
    click.echo("the copy is whole: its pages, indexes and foreign keys are in order")
    if database_url is not None:
        click.echo(_compared(database_url))
    click.echo(RESTORE)


def _compared(url: str) -> str:
    live = backups.sqlite_file(url)
    if live is None or not live.exists():
        return "there is no SQLite database at DATABASE_URL to compare it with"
    with open_database(url) as database, database.untimed() as db:
        return f"the ledger at DATABASE_URL now holds {_counted(contents.of(db))}"


def _counted(held: Contents) -> str:
    counts = f"{held.sessions} sessions, {held.callbacks} callbacks, {held.events} events"
    if held.last_written_at is None:
        return counts
    return f"{counts}, the last of {written_out(held.last_written_at)}"
