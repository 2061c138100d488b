"""`siprec-ledger status`: is all well, and if not, which calls, whose side, what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import click

from service.commands.database import database_url_option, open_database
from service.domain.overdue import OverdueKind
from service.ledger import overview
from service.ledger.overview import Overview
from service.ledger.promise import Promise
from service.ledger.wellness import UNAVAILABLE, Wellness
from service.log_lines import one_line
from service.store.conditions import Conditions
from service.store.engine import Database, DatabaseError

MOST_NAMED: Final = 10  # calls
NOT_WELL: Final = 1


@click.command()
@database_url_option
def status(database_url: str) -> None:
    """Say whether all is well, and if not, which calls, whose side it is and what to do.

    Ends with 0 if all is well, with 1 if not, or if the database does not answer. Times are UTC.
    """
    with open_database(database_url) as database:
        found = _look(database)
    for line in _lines(found):
        click.echo(one_line(line))
    if not found.wellness.is_well:
        raise SystemExit(NOT_WELL)


def _look(database: Database) -> Overview:
    try:
        with database.read() as db:
            return overview.of(db, MOST_NAMED + 1)
    except DatabaseError:
        return Overview(UNAVAILABLE)


def _lines(found: Overview) -> Iterator[str]:
    yield from _verdict(found.wellness)
    yield from _overdue(found)
    if found.conditions is not None:
        in_progress = {state.value: count for state, count in found.in_progress.items()}
        yield _counted("Sessions in progress", in_progress)
        yield from _figures(found.conditions, found.wellness.promise)


def _verdict(found: Wellness) -> Iterator[str]:
    yield "All is well." if found.is_well else "Not all is well:"
    for reason in found.reasons:
        yield f"- {reason.words} Side: {reason.side}. {reason.what_to_do}"


def _promise(found: Promise) -> str:
    """As the page says it."""
    since = "in the last day" if found.is_day else f"since {found.since:%Y-%m-%d %H:%M} UTC"
    return f"Callbacks {since}: {found.answered:,} answered 200, {found.shown:,} shown"


def _overdue(found: Overview) -> Iterator[str]:
    if found.overdue:  # those of the last day would be why it is not well
        is_old = found.wellness.is_well
        yield f"Overdue {'for more than a day' if is_old else 'sessions'}, calls that go on first:"
    for session, told in found.overdue[:MOST_NAMED]:
        yield f"- {session.id}, call {session.order.call_sid}: {told.summary} Side: {told.side}."
    if len(found.overdue) > MOST_NAMED:
        yield "- and more: siprec-ledger sessions --overdue"


def _figures(found: Conditions, promise: Promise | None) -> Iterator[str]:
    kinds = {
        kind.value: sum(n for (one, _), n in found.overdue.items() if one == kind) for kind in OverdueKind
    }
    yield _counted("Overdue", kinds)
    if promise is not None:
        yield _promise(promise)
    waiting = {"callbacks": found.spools.entries, "dead letters": found.spools.dead_letters}
    yield _counted("Waiting on disks", waiting)
    yield _counted("Rejected callbacks", found.rejected)
    yield _counted("Alerts open", _by_cause(found))
    seconds = found.heartbeat_seconds
    yield "Last heartbeat: " + ("never" if seconds is None else f"{seconds:.0f} s ago")


def _by_cause(found: Conditions) -> dict[str, int]:
    causes = sorted({cause for cause, _ in found.alerts})
    return {cause: sum(n for (one, _), n in found.alerts.items() if one == cause) for cause in causes}


def _counted(name: str, counts: Mapping[str, int]) -> str:
    some = [f"{what} {count:,}" for what, count in counts.items() if count]
    return f"{name}: {sum(counts.values()):,}" + (f" ({', '.join(some)})" if some else "")
