"""`siprec-ledger sessions`: the newest, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import click

from service.commands.database import database_url_option, open_database
from service.domain.access import ALL_ACCOUNTS
from service.domain.session import Session
from service.domain.state import State
from service.log_lines import one_line
from service.store import session_lists
from service.store.columns import written_out
from service.store.session_lists import Filter

HEADINGS: Final = ("REQUESTED", "STATE", "OVERDUE", "ACCOUNT", "CONNECTOR", "REFERENCE", "CALL", "ID")


@click.command()
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([one.value for one in State]),
    help="May be repeated.",
)
@click.option("--overdue", is_flag=True, help="Only those that are overdue.")
@click.option("--account", "account_sid", help="Telnyx's account id.")
@click.option("--connector", "connector_name")
@click.option("--reference")
@click.option("--call", "call_sid", help="Telnyx's call id.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@click.option("--json", "as_json", is_flag=True, help="One JSON document per line.")
@database_url_option
def sessions(
    states: Collection[str],
    account_sid: str | None,
    connector_name: str | None,
    reference: str | None,
    call_sid: str | None,
    limit: int,
    database_url: str,
    *,
    overdue: bool,
    as_json: bool,
) -> None:
    """List sessions, the newest first. Times are UTC; why one is so, GET /v1/sessions/ID/explain tells."""
    wanted = Filter(
        states=frozenset(map(State, states)),
        call_sid=call_sid,
        account_sid=account_sid,
        connector_name=connector_name,
        reference=reference,
        overdue=True if overdue else None,
    )
    with open_database(database_url) as database, database.read() as db:
        found = session_lists.page(db, wanted, ALL_ACCOUNTS, None, limit)
    for line in map(_document, found) if as_json else _table(found):
        click.echo(line)


def _table(found: Sequence[Session]) -> Iterator[str]:
    rows = [HEADINGS, *map(_row, found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(session: Session) -> tuple[str, ...]:
    order, overdue = session.order, session.watched.overdue
    cells = (
        *(f"{session.requested_at:%Y-%m-%d %H:%M:%S}", session.progress.state),
        overdue.kind if overdue else None,
        *(order.account_sid, order.connector_name, order.reference, order.call_sid, session.id),
    )
    return tuple(one_line(cell or "-") for cell in cells)


def _document(session: Session) -> str:
    order, watched = session.order, session.watched
    shown = {
        "id": session.id,
        "origin": session.origin,
        **{name: getattr(order, name) for name in ("account_sid", "call_sid", "connector_name", "reference")},
        "labels": dict(order.labels),
        "requested_at": session.requested_at,
        **session.progress.facts(),
        "error": session.progress.error,
        "attempts": session.attempts,
        **watched.facts(),
    }
    return json.dumps(shown, default=_plain)


def _plain(value: Any) -> Any:
    return written_out(value) if isinstance(value, datetime) else value.facts()
