"""A session as it was known at an earlier moment: by the events that had their positions by then."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from service.domain.history import facts_after
from service.domain.session import Session
from service.store.events import Event, Moment
from service.web import responses
from service.web.problems import Problem, wrong_field
from service.web.requests import PageQuery, WaitQuery, read_time

POSITION: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


def moment(text: str) -> Moment:
    """Raises ValueError."""
    if POSITION.fullmatch(text):
        return int(text)
    try:
        return read_time(text)
    except ValueError:
        raise ValueError("must be a position, or a time as RFC 3339 writes it, with a zone") from None


def _checked(text: str) -> str:
    moment(text)
    return text


AsOf = Annotated[str, AfterValidator(_checked)]


class SessionThenQuery(WaitQuery):
    as_of: AsOf | None = Field(
        default=None,
        description="a position of the feed, or a time (RFC 3339, with a zone): the session as it was known "
        "then, by the events that were numbered by then. `answer` is null: the timeline tells of it",
    )

    def until(self) -> Moment | None:
        """None: now. Raises Problem."""
        if self.as_of is None:
            return None
        if self.wait is not None:
            raise Problem("invalid-request", errors=[wrong_field("query", "/wait", "no as_of beside it")])
        return moment(self.as_of)


class TimelineThenQuery(PageQuery):
    as_of: AsOf | None = Field(default=None, description="as for the session: what was numbered by then")

    def until(self) -> Moment | None:
        """None: now."""
        return moment(self.as_of) if self.as_of is not None else None


def members(session: Session, known: Sequence[Event]) -> dict[str, Any]:
    """Of SessionResponse, by all that was known of it then. Raises Problem if that is nothing."""
    if not known:
        raise Problem("unknown-session", "No session of this id was known then")
    return {
        **responses.session_members(session),
        **facts_after(event.changes for event in known),
        "account_sid": known[-1].account_sid,
        "updated_at": next(one.written_at for one in reversed(known) if not one.kind.is_of_watch),
        "answer": None,
    }
