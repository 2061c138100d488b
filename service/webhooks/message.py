"""A message about an alert, as each kind of receiver takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from service.domain.value import value


@value(frozen=True)
class Message:
    """`id` is the same each time that it is sent. `kind` is opened, updated, reminded, acknowledged or ended.

    `alert` is a JSON object; see `documented`. `link` leads to what is behind it.
    """

    id: str
    kind: str
    words: str
    side: str
    what_to_do: str
    link: str
    at: datetime
    alert: Mapping[str, Any]


def standard(message: Message) -> dict[str, Any]:
    """As standardwebhooks.com recommends: type, timestamp, data."""
    return {
        "type": f"alert.{message.kind}",
        "timestamp": message.at.isoformat(),
        "data": {
            **message.alert,
            "words": message.words,
            "side": message.side,
            "what_to_do": message.what_to_do,
            "link": message.link,
        },
    }


def slack(message: Message) -> dict[str, Any]:
    """docs.slack.dev, incoming webhooks: `text` is what notifications show."""
    title = f"{message.kind.capitalize()}: {message.words}"
    body = f"*{_escaped(title)}*\n{_escaped(message.what_to_do)}\nWhose side: {_escaped(message.side)}"
    button = {
        "type": "button",
        "text": {"type": "plain_text", "text": "Show the calls"},
        "url": message.link,
    }
    return {
        "text": _escaped(title),
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": body}},
            {"type": "actions", "elements": [button]},
        ],
    }


def teams(message: Message) -> dict[str, Any]:
    """learn.microsoft.com, "Create incoming webhooks with Workflows": a message with one adaptive card."""
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
            {
                "type": "TextBlock",
                "text": f"{message.kind.capitalize()}: {message.words}",
                "weight": "Bolder",
                "wrap": True,
            },
            {"type": "TextBlock", "text": message.what_to_do, "wrap": True},
            {"type": "FactSet", "facts": [{"title": "Whose side", "value": message.side}]},
        ],
        "actions": [{"type": "Action.OpenUrl", "title": "Show the calls", "url": message.link}],
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def _escaped(text: str) -> str:
    """Slack reads these three as its own: docs.slack.dev, "Formatting message text"."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


FORMATS: Final[Mapping[str, Callable[[Message], dict[str, Any]]]] = {
    "standard": standard,
    "slack": slack,
    "teams": teams,
}
