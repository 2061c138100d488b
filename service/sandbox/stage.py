"""What every part of the demo is played with: the sandbox, the service, a terminal, and when to end."""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

import click

from .console import LAG, Console, Line
from .program import Program
from .server import Sandbox
from .sessions import now

GLANCE_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 20


class WentWrong(Exception):
    """Something did not go as it should; the text says what."""


class Ended(Exception):
    """Ctrl-C, or the like."""


@dataclass(frozen=True)
class Stage:
    """`end` is looked at wherever the demo waits. Everything raises Ended, ServiceFailed, WentWrong."""

    end: Event
    telnyx: Sandbox
    service: Program
    console: Console

    def pause(self) -> None:
        if self.end.wait(GLANCE_SECONDS):
            raise Ended

    def show(self) -> None:
        """What happened, and a moment for more."""
        self.console.show(LAG)
        self.pause()

    def show_rest(self) -> None:
        """Let Telnyx finish telling, and show the rest of it."""
        self.telnyx.wait_until_idle(LONGEST_WAIT_SECONDS)
        self.console.show()

    def post(self, what: str, call_sid: str, path: str, json: Any = None) -> dict[str, Any]:
        answer = self.say(what, call_sid, path, json)
        if not answer.ok:
            self.show_rest()
            raise WentWrong(f"{call_sid}: POST {path} was answered {answer.status_code} {answer.text}")
        return dict(answer.json())

    def say(
        self, what: str, call_sid: str, path: str, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The answer to a POST of the app, whatever it is."""
        at = now()
        answer = self.service.ask("POST", path, json=json, headers=headers)
        self.console.add(Line(at, "app", f"{what} {call_sid}: answered {answer.status_code}"))
        return answer


def title(text: str) -> None:
    click.echo(f"\n{click.style(text, bold=True)}")
