"""A Telnyx that answers as it is told to, for the demo's history: nobody is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from service.domain.notice import Error
from service.telnyx import answer
from service.telnyx.client import Client


class PlayedTelnyx(Client):
    """`move` is told when each answer comes, as the answer has it.

    `answers` are by call: at, status, document. `tokens` are those of the callback URLs that were ordered.
    """

    def __init__(self, clock: Callable[[], datetime], move: Callable[[str], None]) -> None:
        super().__init__("", "none", 1.0, clock)
        self._now = clock
        self._move = move
        self.answers: dict[str, Mapping[str, Any]] = {}
        self.tokens: dict[str, str] = {}

    def _post(
        self,
        account_sid: str,  # noqa: ARG002
        path: Sequence[str],
        form: Mapping[str, str],
    ) -> Mapping[str, Any] | Error:
        call_sid = path[1]
        if "StatusCallback" not in form:  # a stop
            return {}
        self.tokens[call_sid] = form["StatusCallback"].rpartition("/")[2]
        said = self.answers[call_sid]
        self._move(said["at"])
        return answer.read(said["status"], {}, said["document"], self._now())
