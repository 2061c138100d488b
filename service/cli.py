"""The operators' door: `siprec-ledger …`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime

import click

from service import config, logs, wiring
from service.commands.alerts import alert_group
from service.commands.database import database_url_option, db, open_database
from service.commands.doctor import canary, doctor
from service.commands.follow import follow
from service.commands.history import demo_history
from service.commands.hosts import hosts_group
from service.commands.keys import keys_group
from service.commands.login import login
from service.commands.metrics import metrics_group
from service.commands.report import report
from service.commands.sessions import sessions
from service.commands.status import status
from service.ledger import evidence
from service.ledger import rejected as rejected_deliveries
from service.ledger.evidence import ReadingNotWritten
from service.sandbox.cli import sandbox
from service.sandbox.demo import demo
from service.spool import SpoolUnusable
from service.store import rejected
from service.store.engine import Database, DatabaseError, DatabaseUnusable
from service.store.events import OPERATOR
from service.watch_settings import LogFormat
from service.wiring import Services

NOT_WRITTEN = "who reads it could not be written down"


@click.group()
@click.version_option(package_name="siprec-ledger")
@click.option(
    "--log-format",
    type=click.Choice([one.value for one in LogFormat]),
    envvar="LOG_FORMAT",
    default=LogFormat.TEXT.value,
    help="Of warnings, on stderr. Default: the environment's LOG_FORMAT, or text.",
)
def main(log_format: str) -> None:
    """Starts SIPREC recording sessions on Telnyx, hears what becomes of each, and never forgets it."""
    if not logging.getLogger().handlers:  # whoever has called this as a function has their own
        logs.install(LogFormat(log_format), logging.WARNING)


main.add_command(db)
main.add_command(sandbox)
main.add_command(demo)
main.add_command(demo_history)
main.add_command(keys_group)
main.add_command(hosts_group)
main.add_command(follow)
main.add_command(login)
main.add_command(status)
main.add_command(sessions)
main.add_command(report)
main.add_command(metrics_group)
main.add_command(alert_group)
main.add_command(doctor)
main.add_command(canary)


@main.group("callbacks")
def callbacks_() -> None:
    """What came to the callback endpoint."""


@callbacks_.command("rejected")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@database_url_option
def rejected_(limit: int, database_url: str) -> None:
    """What the endpoint rejected, newest first, one JSON document per line."""
    with open_database(database_url) as database:
        with database.read() as db:
            found = rejected.newest(db, limit)
        try:
            _write_reading(database, evidence.REJECTED, [one.delivery_id for one in found])
        except ReadingNotWritten as error:
            raise click.ClickException(f"not shown, since {NOT_WRITTEN}: {error}") from error
        for one in found:
            shown = asdict(one) | {
                "received_at": one.received_at.isoformat(),
                "query": one.query.decode("latin-1"),
                "body": one.body.decode("latin-1"),
                "headers": dict(one.headers),
            }
            shown.pop("token")  # it is a secret, should it be ours
            click.echo(json.dumps(shown))


@callbacks_.command("retry")
def retry_rejected() -> None:
    """Judge what was rejected again, with the settings as they are now."""
    with _services() as services:
        retried = rejected_deliveries.retry(services.database, services.ingest, services.reader)
    counts = f"stored: {retried.stored}, still rejected: {retried.rejected}"
    click.echo(f"{counts}, refused by the database: {retried.refused}")


@main.group()
def spool() -> None:
    """What waits in SPOOL_DIR because the database would not take it."""


@spool.command("list")
def list_dead_letters() -> None:
    """Dead letters, oldest first, one JSON document per line: why, and what they hold.

    What they hold is null while the database does not take it down who reads that.
    """
    with _services() as services:
        letters, is_written = services.backlog.dead_letters(), True
        try:
            ids = [one.path.name for one in letters if one.entry is not None]
            _write_reading(services.database, evidence.DEAD_LETTERS, ids)
        except ReadingNotWritten as error:
            is_written = False
            click.echo(f"what they hold is not shown, since {NOT_WRITTEN}: {error}", err=True)
        for letter in letters:
            click.echo(json.dumps(letter.shown(with_entry=is_written)))


@spool.command("retry")
def retry_dead_letters() -> None:
    """Try dead letters again, and whatever waits of processes that have died."""
    with _services() as services:
        count = services.backlog.retry()
        try:
            services.drain.run()
        except SpoolUnusable as error:
            raise click.ClickException(f"the spool cannot be used: {error}") from error
        except DatabaseError as error:  # busy, for one: the service will write what waits
            click.echo(f"not all could be written now, it waits: {error}", err=True)
        services.backlog.survey()
        depth = services.backlog.depth()
    if depth is None:
        raise click.ClickException("there is no spool: SPOOL is off")
    click.echo(f"tried: {count}, dead letters: {depth.dead_letters}, waiting: {depth.entries}")


def _write_reading(database: Database, what: str, ids: Sequence[str]) -> None:
    """Raises ReadingNotWritten."""
    evidence.write_reading(database, what, ids, OPERATOR, datetime.now(UTC))


@contextmanager
def _services() -> Iterator[Services]:
    try:
        services = wiring.wire(config.load())
    except config.WrongConfiguration as wrong:
        raise click.ClickException(f"the configuration is wrong:\n{wrong}") from wrong
    except DatabaseUnusable as error:
        raise click.ClickException(str(error)) from error
    try:
        yield services
    except DatabaseError as error:
        raise click.ClickException(f"the database does not answer: {error}") from error
    finally:
        services.database.close()
