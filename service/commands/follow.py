"""`siprec-ledger follow`: what happens, as it happens, for people and for pipes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import click

from service.commands.feed import Event, FeedReader, Refused

REFUSED: Final = 1  # exit codes; 2 is click's, of a wrong command line
RESTORED: Final = 3
INTERRUPTED: Final = 130  # as shells have it
CONFLICT: Final = 409


def _url(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not text.isascii() or not text.isprintable() or " " in text:
        raise click.BadParameter("it has to be like https://ledger.example.com")
    if parts.username is not None or parts.query or parts.fragment:
        raise click.BadParameter("credentials, a query and a fragment do not belong into it")
    return text


@click.command()
@click.option(
    "--url",
    envvar="LEDGER_URL",
    required=True,
    callback=_url,
    help="Where apps reach the service. Default: the environment's LEDGER_URL.",
)
@click.option("--after", default="now", show_default=True, help="start, now, a time, or the id of an event.")
@click.option(
    "--type", "types", multiple=True, help="Like siprec.session.changed; may be repeated, then any of them."
)
@click.option("--account", help="Of sessions of this Telnyx account id.")
@click.option("--connector", help="Of sessions that were ordered with this connector.")
@click.option("--session", type=click.UUID, help="Of this session, and of those merged into it.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a CloudEvent, one per line.")
def follow(
    url: str,
    after: str,
    types: Collection[str],
    account: str | None,
    connector: str | None,
    session: UUID | None,
    as_json: bool,
) -> None:
    """Print events as they happen, each once, until it is ended.

    Needs the environment's LEDGER_KEY, an API key with sessions:read, and no other setting. After an
    interruption it goes on by itself, from where it was; it says so on standard error.

    A line has: when it happened, its id (to go on there later: --after), its type, what it is about, what
    changed, and who caused it.

    Ends with 1 if the service refuses; with 2 if it was asked for wrongly; with 3 if the ledger was put back
    to an earlier state, in which the event that was read last has not happened.
    """
    wanted = {"account_sid": account, "connector_name": connector, "session_id": session}
    filters = [("type", one) for one in types]
    filters += [(name, str(value)) for name, value in wanted.items() if value is not None]
    try:
        for event in FeedReader(url, _key(), filters, _tell).events(after):
            click.echo(json.dumps(event) if as_json else line(event))
    except Refused as refused:
        click.echo(f"Error: {_plain(str(refused))}", err=True)
        sys.exit(RESTORED if refused.status == CONFLICT else REFUSED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def line(event: Event) -> str:
    """In one line, whatever it holds."""
    data = event["data"]
    changed = [_change(fact, *pair) for fact, pair in data["changes"].items()]
    about = f"{event['type'].removeprefix('siprec.')} {event['subject']}"
    corrects = ["(correction)"] if data["correction"] else []
    return " ".join([event["time"], event["id"], about, *changed, f"by {_plain(data['actor'])}", *corrects])


def _change(fact: str, before: Any, after: Any) -> str:
    return f"{fact}={_value(after)}" if before is None else f"{fact}={_value(before)}->{_value(after)}"


def _value(value: Any) -> str:
    is_word = isinstance(value, str) and value.isprintable() and " " not in value
    return str(value) if is_word else json.dumps(value)


def _plain(text: str) -> str:
    """Without what a terminal takes for an order."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _key() -> str:
    key = os.environ.get("LEDGER_KEY", "").strip()
    if not key:
        raise click.UsageError("LEDGER_KEY is not set: the API key to ask with")
    if not key.isascii() or not key.isprintable():
        raise click.UsageError("LEDGER_KEY is no API key")
    return key


def _tell(what: str) -> None:
    click.echo(_plain(what), err=True)
