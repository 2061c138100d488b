"""`siprec-ledger alert …`: whether alerts reach whoever is to be told."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from service import config, wiring
from service.domain.ids import new_id
from service.webhooks.message import Message


@click.group("alert")
def alert_group() -> None:
    """Whoever is told of alerts."""


@alert_group.command("test")
def test() -> None:
    """Send one to ALERT_WEBHOOK_URL, and say what came back.

    Ends with 0 if it was taken; with 1 if it was not, or if nobody is to be told.
    """
    try:
        settings = config.load()
    except config.WrongConfiguration as wrong:
        raise click.ClickException(f"the configuration is wrong:\n{wrong}") from wrong
    receiver = wiring.receiver(settings)
    if receiver is None:
        raise click.ClickException("ALERT_WEBHOOK_URL is not set: nobody is told of alerts")
    outcome = receiver.send(_message(wiring.link_base(settings)))
    if not outcome.is_taken:
        raise click.ClickException(f"it was not taken: {outcome.text}")
    click.echo(f"taken: {outcome.text}")


def _message(link_base: str) -> Message:
    id, now = new_id(), datetime.now(UTC)
    return Message(
        id=f"{id}.1",
        kind="test",
        words="This is a test: nothing is wrong.",
        side="us",
        what_to_do="Nothing. An alert would look like this.",
        link=f"{link_base}/",
        at=now,
        alert={"id": id, "notice": 1, "state": "test", "cause": "test", "opened_at": now.isoformat()},
    )
