"""`siprec-ledger follow`: the feed, as `tail -f` shows a file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import click

from service.commands.feed_client import WAIT_SECONDS, FeedClient, Interrupted, Page, Refused

KEY: Final = "LEDGER_KEY"
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0
# Exit codes
REFUSED: Final = 1
KEY_REFUSED: Final = 3
RESTORED: Final = 4
STOPPED: Final = 130  # by Ctrl-C, as shells have it
CODES: Final = {401: KEY_REFUSED, 403: KEY_REFUSED, 409: RESTORED}


def _checked(_context: click.Context, _parameter: click.Parameter, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise click.BadParameter("it has to be like https://ledger.example.com")
    return url


@click.command()
@click.option(
    "--url",
    envvar="LEDGER_URL",
    required=True,
    callback=_checked,
    help="Where the service is, like https://ledger.example.com. Default: the environment's LEDGER_URL.",
)
@click.option(
    "--after",
    default="now",
    show_default=True,
    help="Where to begin: the id of an event (which comes after it), start, now, or a time with its zone.",
)
@click.option("--json", "as_json", is_flag=True, help="Whole events (CloudEvents 1.0), a JSON document each.")
@click.option("--type", "types", multiple=True, help="Like siprec.session.changed; may be repeated.")
@click.option("--account-sid")
@click.option("--connector-name")
@click.option("--session-id", type=click.UUID, help="With the sessions merged into it.")
def follow(
    url: str,
    after: str,
    types: Collection[str],
    account_sid: str | None,
    connector_name: str | None,
    session_id: UUID | None,
    *,
    as_json: bool,
) -> None:
    """Print what happens, a line for each event, and wait for more, until Ctrl-C.

    It asks the service by HTTP, with the API key (scope sessions:read) that stands in the environment as
    LEDGER_KEY. Where the service is away, it says so on stderr, and goes on where it was as soon as it can:
    no event is left out or printed twice.

    Ends with 1 if it is refused for good, with 2 if it was asked for wrongly, with 3 if the key opens
    nothing or lacks the scope, with 4 if the ledger was put back to an earlier state, in which that place
    of the feed is not.
    """
    key = os.environ.get(KEY)
    if not key or not (key.isascii() and key.isprintable()):
        raise click.UsageError(f"Set {KEY} to an API key: siprec-ledger keys create prints one.")
    named = {"account_sid": account_sid, "connector_name": connector_name, "session_id": session_id}
    filters = [("type", one) for one in types]
    filters += [(name, str(value)) for name, value in named.items() if value is not None]
    try:
        for page in pages(FeedClient(url, key, filters).page, after, _say):
            for event in page.events:
                click.echo(json.dumps(event) if as_json else line(event))
    except Refused as error:
        _say(str(error))
        raise SystemExit(2 if error.status == 422 else CODES.get(error.status, REFUSED)) from error
    except KeyboardInterrupt:
        raise SystemExit(STOPPED) from None


def pages(ask: Callable[[str, int], Page], after: str, say: Callable[[str], None]) -> Iterator[Page]:
    """One after the other, for ever, whatever interrupts them; `ask` as FeedClient.page. Raises Refused."""
    pause, wait = 0.0, 0  # at first not, or `now` would be another place once it was interrupted
    while True:
        began = time.monotonic()
        try:
            page = ask(after, wait)
        except Interrupted as error:
            if not pause:
                say(f"interrupted, will go on by itself: {error}")
            pause = min(max(2 * pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            time.sleep(max(pause, error.seconds))
            continue
        if pause:
            say("goes on")
            pause = 0.0
        yield page
        is_unmoved, after = page.next == after, page.next
        if wait and is_unmoved and time.monotonic() - began < FIRST_PAUSE_SECONDS:
            time.sleep(FIRST_PAUSE_SECONDS)  # it was not let wait
        wait = WAIT_SECONDS


def line(event: Mapping[str, Any]) -> str:
    """When and where in the feed; what, to whom and by whom; and what changed."""
    data = event["data"]
    changes = [f"{fact} {_change(pair)}" for fact, pair in data["changes"].items()]
    correction = ["corrected"] if data["correction"] else []
    head = f"{event['time']} {event['id']} {event['type']} {event['subject']} by {data['actor']}:"
    return _printable(" ".join([head, *correction, ", ".join(changes)]).rstrip())


def _change(pair: Sequence[Any]) -> str:
    before, after = (value if isinstance(value, str) else json.dumps(value) for value in pair)
    return after if pair[0] is None else f"{before} -> {after}"


def _printable(text: str) -> str:
    """On one line, and harmless to a terminal, whatever Telnyx said."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _say(text: str) -> None:
    click.echo(_printable(f"siprec-ledger follow: {text}"), err=True)
