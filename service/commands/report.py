"""`siprec-ledger report`: a report as a file, from the database."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import click

from service.commands.database import database_url_option, open_database
from service.domain import days
from service.domain.access import ALL_ACCOUNTS
from service.domain.days import NoSuchZone, WrongMoment
from service.domain.state import State
from service.exports import formats, pages
from service.exports.formats import CSV, NDJSON, Format
from service.store import report_rows
from service.store.engine import Database, DatabaseError
from service.store.report_page import Report
from service.store.report_wanted import UTC_NAME, Wanted
from service.store.reports import REPORTS

PARQUET: Final = "parquet"
STDOUT: Final = Path("-")
NO_PYARROW: Final = "Parquet needs pyarrow: pip install 'siprec-ledger[parquet]'"


@click.command()
@click.argument("name", type=click.Choice(list(REPORTS)))
@click.option("--since", help="A day of --zone, or a time with its zone: from then on.")
@click.option("--until", help="Likewise; that moment itself is not in it.")
@click.option("--zone", default=UTC_NAME, show_default=True, help="Of days, like Europe/Berlin.")
@click.option("--account", "account_sid", help="Telnyx's account id.")
@click.option("--connector", "connector_name")
@click.option("--state", "states", multiple=True, type=click.Choice([one.value for one in State]))
@click.option("--reference")
@click.option("--label", "labels", multiple=True, help="Key:value; may be repeated, then all must fit.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice([CSV, NDJSON, PARQUET]),
    default=CSV,
    show_default=True,
    help="Parquet needs siprec-ledger[parquet].",
)
@click.option("--exact", is_flag=True, help="CSV: texts exactly as they are, and no byte order mark.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default=STDOUT,
    help="A file, which is there once all is in it. Default: stdout.",
)
@database_url_option
def report(
    name: str,
    since: str | None,
    until: str | None,
    zone: str,
    account_sid: str | None,
    connector_name: str | None,
    states: Collection[str],
    reference: str | None,
    labels: Collection[str],
    format_name: str,
    output: Path,
    database_url: str,
    *,
    exact: bool,
) -> None:
    """Write a report: its oldest row first, all accounts. Its columns are those of the view report_NAME_v1.

    CSV and NDJSON end with a line that says how many rows there are, up to which position of the feed all is
    in it, or that it failed. Ends with 0 once all is written, with 1 if not, with 2 if asked for wrongly.
    """
    wanted_report = REPORTS[name]
    given: dict[str, Any] = {
        "connector_name": connector_name,
        "states": frozenset(map(State, states)),
        "reference": reference,
        "labels": tuple(map(_label, labels)),
    }
    _check_filters(wanted_report, given)
    wanted = Wanted(account_sid=account_sid, **_times(wanted_report, since, until, zone), **given)
    made = _format(format_name, wanted_report, exact=exact)
    with open_database(database_url) as database, _written(output) as write:
        _write(database, wanted_report, wanted, made, write)


def _write(
    database: Database, report: Report, wanted: Wanted, made: Format, write: Callable[[bytes], object]
) -> None:
    written = 0
    try:
        up_to = pages.position(database)
        write(made.begin())
        with _bar(database, report, wanted) as advance:
            for chunk in pages.chunks(database, report, wanted, ALL_ACCOUNTS, None, up_to, made):
                write(chunk.content)
                written += chunk.rows
                advance(chunk.rows)
    except DatabaseError:
        write(made.broken_off(written, "the database did not answer"))
        raise
    write(made.end(written, up_to))


def _check_filters(report: Report, given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value and name not in report.filters:
            option = {"connector_name": "--connector", "states": "--state"}.get(name, f"--{name.rstrip('s')}")
            raise click.UsageError(f"{option} narrows no rows of the report {report.name}")


def _times(report: Report, since: str | None, until: str | None, zone_name: str) -> dict[str, Any]:
    try:
        zone = days.zone(zone_name)
    except NoSuchZone as error:
        hint = "it has to be a name of the IANA time zone database, like Europe/Berlin"
        raise click.BadParameter(hint, param_hint="--zone") from error
    try:
        first, last = days.span(since, until, zone, whole_days=report.by_day)
    except WrongMoment as wrong:
        raise click.BadParameter(f"it has to be {wrong.expected}", param_hint=f"--{wrong.name}") from wrong
    return {"since": first, "until": last, "zone": zone_name}


def _label(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not (name and colon and value):
        raise click.BadParameter("it has to be like team:fraud", param_hint="--label")
    return name, value


def _format(name: str, report: Report, *, exact: bool) -> Format:
    if name != PARQUET:
        return formats.of(name, report.view, exact=exact)
    try:
        from service.exports.parquet import (
            Parquet,
        )  # only where it is wanted: it is large, and may not be there
    except ImportError as error:
        raise click.ClickException(NO_PYARROW) from error
    return Parquet(report.view)


@contextmanager
def _written(output: Path) -> Iterator[Callable[[bytes], object]]:
    """To stdout; or to a file beside `output`, which takes its place once all is written."""
    if output == STDOUT:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    if output.exists() and not output.is_file():
        raise click.ClickException(f"{output} is no file")
    output = output.resolve()  # what a link leads to is written, and the link stays
    part = output.with_name(f"{output.name}.{os.getpid()}.part")  # another may write the same report
    try:
        with part.open("wb") as file:
            yield file.write
        part.replace(output)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def _bar(database: Database, report: Report, wanted: Wanted) -> Iterator[Callable[[int], object]]:
    """How far it is, on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    length = None if report.by_day else _count(database, report, wanted)
    endless = itertools.repeat(None) if length is None else None
    with click.progressbar(endless, length, report.name, show_pos=True, file=sys.stderr) as bar:
        yield bar.update


def _count(database: Database, report: Report, wanted: Wanted) -> int | None:
    """None: that takes too long."""
    with suppress(DatabaseError), database.read() as db:
        return report_rows.count(db, report, wanted, ALL_ACCOUNTS)
    return None
