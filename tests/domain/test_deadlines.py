"""Which deadline a session has, and what is said once it has passed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.domain.deadlines import NOT_FOUND, Deadline, awaited
from service.domain.overdue import Call, OverdueKind, Watched
from service.domain.state import State

SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LATER = SINCE + timedelta(hours=1)


@pytest.mark.parametrize(
    ("state", "kind", "kind_once_a_stop_was_asked_for"),
    [
        (State.REQUESTED, None, None),
        (State.UNANSWERED, OverdueKind.NO_ANSWER, OverdueKind.NO_ANSWER),
        (State.REFUSED, None, None),
        (State.ACCEPTED, OverdueKind.NOT_STARTED, OverdueKind.NOT_STOPPED),
        (State.STARTED, OverdueKind.NOT_ENDED, OverdueKind.NOT_STOPPED),
        (State.STOPPED, OverdueKind.STOPPED_EARLY, None),
        (State.FAILED, None, None),
    ],
)
def test_what_a_session_waits_for(
    state: State, kind: OverdueKind | None, kind_once_a_stop_was_asked_for: OverdueKind | None
) -> None:
    assert awaited(state, is_stop_requested=False, is_merged=False) is kind
    assert awaited(state, is_stop_requested=True, is_merged=False) is kind_once_a_stop_was_asked_for
    assert awaited(state, is_stop_requested=False, is_merged=True) is None


@pytest.mark.parametrize("kind", OverdueKind)
@pytest.mark.parametrize(
    ("status", "is_overdue_but"),
    [
        ("in-progress", {OverdueKind.NOT_ENDED}),
        ("completed", {OverdueKind.STOPPED_EARLY}),
        (NOT_FOUND, {OverdueKind.STOPPED_EARLY}),
        (None, {OverdueKind.STOPPED_EARLY}),
    ],
)
def test_what_is_overdue_by_what_telnyx_says_of_the_call(
    kind: OverdueKind, status: str | None, is_overdue_but: set[OverdueKind]
) -> None:
    deadline = Deadline(kind, SINCE, MINUTE)
    found = deadline.judge(Watched(call_status=status, call_checked_at=LATER if status else None))
    assert (found is None) == (kind in is_overdue_but)
    if found:
        assert (found.kind, found.since) == (kind, SINCE + MINUTE)


def test_that_a_call_went_on_before_says_nothing_and_that_it_was_over_does() -> None:
    deadline = Deadline(OverdueKind.STOPPED_EARLY, SINCE, MINUTE)
    assert deadline.call_is_live(Watched(call_status="in-progress", call_checked_at=SINCE)) is None
    assert deadline.call_is_live(Watched(call_status="completed", call_checked_at=SINCE)) is False


@pytest.mark.parametrize(
    ("call", "ended_at"),
    [
        (Call("completed", SINCE), SINCE),
        (Call("canceled"), LATER),
        (Call("in-progress"), None),
        (Call("of a later release"), None),
        (None, None),
    ],
)
def test_an_end_is_presumed_of_a_call_that_is_over_alone(
    call: Call | None, ended_at: datetime | None
) -> None:
    learned = Deadline(OverdueKind.NOT_ENDED, SINCE, MINUTE).learn(Watched(), call, LATER)
    assert learned.presumed_ended_at == ended_at
    assert learned.call_checked_at == LATER


def test_a_call_that_is_forgotten_was_over_still() -> None:
    over = Watched(call_status="completed", call_checked_at=SINCE, presumed_ended_at=SINCE, presumed_why="so")
    assert Deadline(OverdueKind.NOT_ENDED, SINCE, MINUTE).learn(over, None, LATER) == over


def test_telnyx_is_asked_less_and_less_often_and_then_no_more() -> None:
    deadline, tried_at, times = Deadline(OverdueKind.NOT_STARTED, SINCE, MINUTE), None, 0
    while asks_at := deadline.asks_at(tried_at, Watched(overdue=deadline.judge(Watched()))):
        assert tried_at is None or asks_at - tried_at >= MINUTE
        tried_at, times = asks_at, times + 1
    assert 50 < times < 60
