"""Readers that wait for what is not there yet: on the event loop, without a thread or a connection.

A view that has nothing to answer says what it waits for, by `for_session` or `for_events`, and is left there.
`flask_bridge` calls it anew once that is there, or when its time is over; each time it looks as for the first
time, and the key is checked. Up to which position it has looked it says too, so that nothing is missed that
was numbered between its look and its wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from flask import Flask, request

from service.domain.state import State

GATHER_SECONDS: Final = 0.25  # who reads much is woken once in so long, and gets together what came meanwhile

Topic = tuple[str, str]
EVERYTHING: Final[Topic] = ("everything", "")
MAY_WAIT: Final = "service.may_wait"  # in the environment of a request: whether its view may wait
WAIT: Final = "service.wait"  # what it waits for
NOTE: Final = "service.note"  # what it left for its next call
WOKEN: Final = "service.woken"  # why it is called again


@dataclass(frozen=True)
class Wait:
    """For an event of any of the topics behind the position `after`; for `seconds` since the first call.

    `has_news`: for its turn to get what there is already.
    """

    topics: frozenset[Topic]
    after: int
    seconds: float
    gathers: bool = False
    has_news: bool = False
    note: Any = None


@dataclass(frozen=True)
class Woken:
    """A reader's wait is over: whether it may wait again, and what `up_to` gives to its view."""

    may_wait: bool
    up_to: int | None = None


class Waits(Exception):
    """Leaves a view, whose transaction it ends."""

    def __init__(self, wait: Wait) -> None:
        super().__init__()
        self.wait = wait


def for_session(session_id: str, states: Iterable[State], after: int, seconds: float) -> None:
    """Wait until this session is in one of these states, or merged into another.

    By an event behind the position `after`, the last that the view could see. Returns where there is no
    time to wait: then the view answers with what it has.
    """
    topics = {("in state", f"{session_id} {state}") for state in states}
    _wait(Wait(frozenset({*topics, ("merged", session_id)}), after, seconds))


def for_events(
    after: int,
    seconds: float,
    note: object,
    *,
    session_id: str | None = None,
    connector_name: str | None = None,
    accounts: Iterable[str] | None = None,
) -> None:
    """Wait for an event behind the position `after`, up to which the view has found nothing.

    Of this session, or of this connector, or of any of these accounts, or for any at all: the first that is
    given, so the view may be called for some that it does not want. `note` is what `noted` gives it then.
    Returns as `for_session` does.
    """
    if session_id is not None:
        topics = {("session", session_id)}
    elif connector_name is not None:
        topics = {("connector", connector_name)}
    else:
        topics = {EVERYTHING} if accounts is None else {("account", one) for one in accounts}
    _wait(Wait(frozenset(topics), after, seconds, gathers=True, note=note))


def for_more(after: int, note: object) -> None:
    """Wait for what comes besides what the view has found already, until those who gather are woken next.

    Returns as `for_session` does.
    """
    _wait(Wait(frozenset(), after, GATHER_SECONDS, gathers=True, has_news=True, note=note))


def noted() -> Any:
    """What the view left for itself when it waited; None where it did not wait."""
    return request.environ.get(NOTE)


def up_to() -> int | None:
    """The position up to which to look, the same for all who were woken together; None: to the end."""
    woken: Woken | None = request.environ.get(WOKEN)
    return None if woken is None else woken.up_to


def is_woken() -> bool:
    """Whether this is a further call, of a reader that has waited."""
    return WOKEN in request.environ


def _wait(wait: Wait) -> None:
    if request.environ.get(MAY_WAIT) and wait.seconds > 0:
        raise Waits(wait)


def install(app: Flask) -> None:
    @app.errorhandler(Waits)
    def leave(waits: Waits) -> tuple[str, int]:
        """Nobody sees this answer."""
        request.environ[WAIT] = waits.wait
        return "", 204
