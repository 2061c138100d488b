"""When an alert is opened, told of again and ended, and what it says. Pure: no input, no output."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import urlencode

from service.domain import causes
from service.domain.causes import Cause, Side
from service.domain.overdue import OverdueKind
from service.domain.state import State
from service.domain.value import value

WINDOW: Final = timedelta(minutes=10)
FEWEST: Final = 3  # in WINDOW
SHARE: Final = 0.02  # of those started in WINDOW, where they are at least
FEWEST_STARTED: Final = 50
REMIND_EVERY: Final = timedelta(hours=1)
UPDATE_EVERY: Final = timedelta(minutes=1)  # at most, and only when twice as many are affected

LIVE: Final = Cause(
    "live_unrecorded",
    "The call goes on, and is probably not recorded",
    Side.RECORDER,
    "Check the recorder and its network now. Start the recording again, or end the call.",
)


class NoticeKind(StrEnum):
    """What a message about an alert tells."""

    OPENED = "opened"
    UPDATED = "updated"  # twice as many are affected
    REMINDED = "reminded"
    ACKNOWLEDGED = "acknowledged"
    ENDED = "ended"


@value(frozen=True)
class Subject:
    """What there is one open alert of. The connector and the account are empty where there is none."""

    cause: str
    connector_name: str = ""
    account_sid: str = ""


@value(frozen=True)
class Figures:
    """`affected` now; `recent`: came in WINDOW; `started` in WINDOW, or as many of them as matter."""

    affected: int = 0
    recent: int = 0
    started: int = 0
    example: str | None = None  # a session's id


def of(code: str) -> Cause:
    """One that only another release knows stands under its own name."""
    if code == LIVE.code:
        return LIVE
    unknown = Cause(code, code, Side.US, "The release that opened it says what to do.")
    return causes.BY_CODE.get(code, unknown)


def is_overdue(code: str) -> bool:
    """Whether it is of sessions that are overdue, and ends with the last of them."""
    overdue = {cause.code for cause in causes.BY_OVERDUE_KIND.values()}
    return code in overdue | {LIVE.code, "unknown"}


def of_overdue(kind: OverdueKind, *, is_unknown: bool, is_call_live: bool) -> str | None:
    """The cause's code; None: it is only a reason to ask."""
    if is_unknown:
        return "unknown"
    if kind is OverdueKind.NOT_ENDED:
        return None
    is_urgent = causes.is_unrecorded(kind, is_unknown=is_unknown, is_call_live=is_call_live)
    return LIVE.code if is_urgent else causes.BY_OVERDUE_KIND[kind].code


def is_to_open(code: str, figures: Figures) -> bool:
    if figures.affected == 0:  # what came lately is over already
        return False
    if code == LIVE.code:
        return True
    if figures.recent >= FEWEST:
        return True
    is_share = figures.started >= FEWEST_STARTED and figures.recent >= SHARE * figures.started
    return figures.recent > 0 and is_share


def is_to_end(figures: Figures) -> bool:
    return figures.affected == 0


def next_notice(
    figures: Figures, *, noticed_affected: int, noticed_at: datetime, is_acknowledged: bool, now: datetime
) -> NoticeKind | None:
    """Of an alert that stays open. Who has acknowledged it is told only that it grows."""
    if figures.affected >= 2 * max(1, noticed_affected) and now - noticed_at >= UPDATE_EVERY:
        return NoticeKind.UPDATED
    if not is_acknowledged and now - noticed_at >= REMIND_EVERY:
        return NoticeKind.REMINDED
    return None


def words(subject: Subject, affected: int, total: int, *, is_over: bool) -> str:
    """One sentence or two."""
    where = [
        f"{name} {text}"
        for name, text in (("connector", subject.connector_name), ("account", subject.account_sid))
        if text
    ]
    said = of(subject.cause).words + (f" ({', '.join(where)})" if where else "")
    if is_over:
        return f"{said}. This has ended; it touched {_calls(total)}."
    return f"{said}. {_calls(affected).capitalize()} {'is' if affected == 1 else 'are'} affected now."


def path(subject: Subject) -> str:
    """Of the page, with the sessions behind it."""
    filters = {"overdue": "true"} if is_overdue(subject.cause) else {"state": _state(subject.cause)}
    filters |= {"connector_name": subject.connector_name, "account_sid": subject.account_sid}
    return "/sessions?" + urlencode({name: text for name, text in filters.items() if text})


def _state(code: str) -> str:
    if code in {"siprec_failed", "recorder_no_answer"}:
        return State.FAILED
    return State.UNANSWERED if code in {"no_answer", "telnyx_error"} else State.REFUSED


def _calls(count: int) -> str:
    return f"{count:,} call" if count == 1 else f"{count:,} calls"
