"""`siprec-ledger demo-history`: plays a made-up day into an empty ledger, for the demo.

What was asked, answered and called back comes as lines of JSON. The ledger's own functions take it in, with
their clock and the database's moved to when it is said to have happened: what they write is what they would
have written then.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from service import config
from service.domain.access import ALL_BUT_ADMIN, Access
from service.domain.callback import Delivery
from service.domain.ids import new_id
from service.domain.start import Order
from service.ledger import keys as ledger_keys
from service.ledger.ingest import Ingest
from service.ledger.sessions import Sessions
from service.store import contents, keys
from service.store.engine import Database, DatabaseError, DatabaseUnusable
from service.store.events import OPERATOR
from service.store.keys import ApiKey
from service.store.past import PastDatabase
from service.store.sessions import IdempotencyKey
from service.telnyx.callback import Reader
from service.telnyx.callback_url import CallbackUrls
from service.telnyx.played import PlayedTelnyx

APP: Final = "call center"  # the name of the key that asks
START_DEADLINE: Final = timedelta(seconds=60)

Line = Mapping[str, Any]


class Clock:
    """Stands where it is put, and never goes back."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def __call__(self) -> datetime:
        return self._now

    def move(self, to: str) -> None:
        self._now = max(self._now, _moment(to))


class Player:
    """Plays lines into `database`, whose clock is `clock`."""

    def __init__(self, database: Database, clock: Clock, reader: Reader, callback_urls: CallbackUrls) -> None:
        self._clock = clock
        self._reader = reader
        self._telnyx = PlayedTelnyx(clock, clock.move)
        self._ingest = Ingest(database, clock, _nobody)
        self._sessions = Sessions(
            database, self._telnyx, callback_urls, clock, START_DEADLINE, 1, _not_saved, _nobody
        )
        with database.begin() as db:
            ledger_keys.create(db, APP, Access(ALL_BUT_ADMIN), None, OPERATOR, clock())
            key = keys.named(db, APP)
        assert key is not None
        self._key: ApiKey = key
        self._ids: dict[str, str] = {}  # call_sid -> session id

    def play(self, lines: Sequence[Line]) -> None:
        for line in lines:
            self._clock.move(line["at"])
            self._play(line)

    def _play(self, line: Line) -> None:
        match line["kind"]:
            case "start":
                self._start(line)
            case "stop":
                self._sessions.stop(self._ids[line["call_sid"]], self._key)
            case "callback":
                self._callback(line)

    def _start(self, line: Line) -> None:
        order = Order(**line["order"])
        self._telnyx.answers[order.call_sid] = line["answer"]
        started = self._sessions.start(order, IdempotencyKey(self._key.id), self._key)
        self._ids[order.call_sid] = started.session.id

    def _callback(self, line: Line) -> None:
        delivery = Delivery(
            id=new_id(),
            received_at=self._clock(),
            method="POST",
            token=self._telnyx.tokens.get(line["call_sid"]),  # a TeXML document has none of ours
            query=b"",
            headers=line["headers"],
            body=line["body"].encode(),
        )
        self._ingest.write([self._reader.read(delivery)])


@click.command("demo-history", hidden=True)
def demo_history() -> None:
    """Play the lines of stdin into an empty ledger on SQLite. For the demo only: nothing of it happened."""
    try:
        settings = config.load()
    except config.WrongConfiguration as wrong:
        raise click.ClickException(f"the configuration is wrong:\n{wrong}") from wrong
    lines = [json.loads(line) for line in sys.stdin]
    clock = Clock(min((_moment(line["at"]) for line in lines), default=datetime.now(UTC)))
    callback_urls = CallbackUrls(settings.PUBLIC_URL, settings.secrets)
    reader = Reader(settings.TELNYX_PUBLIC_KEY.for_all, callback_urls, must_be_signed=True)
    try:
        with closing(PastDatabase(settings.DATABASE_URL.get_secret_value(), clock)) as database:
            _require_empty(database)
            Player(database, clock, reader, callback_urls).play(lines)
    except DatabaseError as error:
        raise click.ClickException(f"the database does not answer: {error}") from error
    except DatabaseUnusable as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"made up: {len(lines)} things that never happened")


def _require_empty(database: Database) -> None:
    with database.read() as db:
        held = contents.of(db)
    if held.sessions or held.callbacks or held.events:
        raise click.ClickException("this ledger holds something: nothing made up is put beside it")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _nobody(_: object) -> None:
    """Nobody waits for what changes."""


def _not_saved(unsaved: object) -> None:
    raise click.ClickException(f"the database took the start and not its answer: {unsaved}")
