"""What a session is: whatever comes, in whatever order, it adds up to the same."""

from __future__ import annotations

import itertools
import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.ids import new_id
from service.domain.notice import Error, ErrorKind, Notice, NoticeKind, is_plausible
from service.domain.progress import MOST_FOLDED, changes, contradiction, fold
from service.domain.session import Origin, Progress, Session
from service.domain.start import Order
from service.domain.state import State

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ORDER = Order("account-1", "call-1")
REJECTED = Error(ErrorKind.REJECTED, 404, "10005", "Resource not found")
SILENCE = Error(ErrorKind.NO_ANSWER, detail="Telnyx did not answer in time")

ACCEPTED = Notice(NoticeKind.ACCEPTED, NOON, siprec_sid="sid-1")
REFUSED = Notice(NoticeKind.REFUSED, NOON, error=REJECTED)
UNANSWERED = Notice(NoticeKind.UNANSWERED, NOON, error=SILENCE)


def callback(
    kind: NoticeKind,
    heard: int = 10,
    happened: datetime | None = None,
    digest: bytes | None = None,
    account_sid: str | None = "account-1",
    call_sid: str | None = "call-1",
    siprec_sid: str | None = "sid-1",
    error: str = "no-answer",
) -> Notice:
    """`heard` is seconds after noon; unless told otherwise, it happened one second before."""
    happened_at, received_at = happened or NOON + (heard - 1) * SECOND, NOON + heard * SECOND
    return Notice(
        kind,
        received_at=received_at,
        happened_at=happened_at,
        time_is_plausible=is_plausible(happened_at, received_at),
        digest=digest or f"{kind.label} {heard} {happened} {call_sid} {siprec_sid} {error}".encode(),
        account_sid=account_sid,
        call_sid=call_sid,
        siprec_sid=siprec_sid,
        error=Error(ErrorKind.SIPREC_FAILED, detail=error) if kind is NoticeKind.FAILED else None,
    )


def folded(*notices: Notice) -> Progress:
    return fold(ORDER, notices)


# Order and repetition

SECONDS = st.integers(0, 5).map(lambda seconds: NOON + seconds * SECOND)  # few, so that many are equal
MOMENTS = SECONDS | st.sampled_from(
    [NOON - timedelta(days=8), NOON + timedelta(hours=1), datetime.min.replace(tzinfo=UTC)]
)
ANSWERS = st.sampled_from([ACCEPTED, REFUSED, UNANSWERED, replace(ACCEPTED, siprec_sid="sid-2")])
WISHES = SECONDS.map(lambda received_at: Notice(NoticeKind.STOP_REQUESTED, received_at))


@st.composite
def callbacks(draw: st.DrawFn) -> Notice:
    kind = draw(st.sampled_from([kind for kind in NoticeKind if kind.is_callback]))
    said = callback(
        kind,
        account_sid=draw(st.sampled_from([None, "account-1", "account-2"])),
        call_sid=draw(st.sampled_from([None, "call-1", "call-2"])),
        siprec_sid=draw(st.sampled_from([None, "sid-1", "sid-2", "sid-3"])),
        error=draw(st.sampled_from(["no-answer", "busy"])),
    )
    happened_at = draw(st.none() | MOMENTS)
    # As Telnyx's, a digest tells any two apart that say something different.
    digest = repr((kind, happened_at, said.account_sid, said.call_sid, said.siprec_sid, said.error))
    received_at = draw(SECONDS)
    return replace(
        said,
        received_at=received_at,
        happened_at=happened_at,
        time_is_plausible=is_plausible(happened_at, received_at),
        digest=digest.encode(),
    )


@st.composite
def stories(draw: st.DrawFn) -> list[Notice]:
    """What a session may have been told: at most one answer, each callback's first delivery."""
    heard = draw(st.lists(callbacks(), max_size=8, unique_by=lambda notice: notice.digest))
    return draw(st.lists(ANSWERS, max_size=1)) + draw(st.lists(WISHES, max_size=3)) + heard


@settings(deadline=None)
@given(stories(), st.data())
def test_neither_order_nor_repetition_matters(story: list[Notice], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(story), max_size=4)) if story else []
    shuffled = data.draw(st.permutations([*story, *again]))
    assert folded(*shuffled) == folded(*story)


def received(notices: list[Notice]) -> list[Notice]:
    """In the order of receipt."""
    return sorted(notices, key=lambda notice: notice.receipt)


@settings(deadline=None)
@given(stories())
def test_in_order_of_receipt_no_state_ever_sinks(story: list[Notice]) -> None:
    story = received(story)
    states = [folded(*story[:count]).state for count in range(len(story) + 1)]
    assert states == sorted(states, key=lambda state: state.rank)


@settings(deadline=None)
@given(stories())
def test_no_failure_is_lost_on_the_way(story: list[Notice]) -> None:
    story = received(story)
    failures = [folded(*story[:count]).failure for count in range(len(story) + 1)]
    first = next((at for at, failure in enumerate(failures) if failure), len(failures))
    assert all(failures[first:])


def test_no_history_of_up_to_four_callbacks_and_three_sids_ever_lowers_a_state() -> None:
    """All of them: the answer may come before, between or after."""
    kinds = (NoticeKind.STARTED, NoticeKind.STOPPED, NoticeKind.FAILED)
    said = [(kind, sid) for kind in kinds for sid in ("sid-1", "sid-2", "sid-3")]
    histories = 0
    for length in range(5):
        for history in itertools.product(said, repeat=length):
            if any(sid == "sid-3" for _, sid in history) and not any(sid == "sid-2" for _, sid in history):
                continue  # the same with other names
            notices = [callback(kind, 10 * at + 10, siprec_sid=sid) for at, (kind, sid) in enumerate(history)]
            for answered_after in range(length + 1):
                answer = replace(ACCEPTED, received_at=NOON + (10 * answered_after + 5) * SECOND)
                whole = [*notices[:answered_after], answer, *notices[answered_after:]]
                ranks = [folded(*whole[:count]).state.rank for count in range(len(whole) + 1)]
                assert ranks == sorted(ranks), history
                histories += 1
    assert histories > 10_000


@settings(deadline=None)
@given(stories())
def test_what_is_shown_hangs_together(story: list[Notice]) -> None:
    progress = folded(*story)
    assert (progress.failure is not None) == (progress.state is State.FAILED)
    assert progress.started_at is None or progress.state.rank >= State.STARTED.rank
    assert progress.ended_at is None or progress.state.is_over
    assert progress.sids >= {sid for sid in (progress.siprec_sid, progress.callback_siprec_sid) if sid}


@settings(deadline=None)
@given(stories())
def test_times_are_the_earliest_that_can_be_believed(story: list[Notice]) -> None:
    progress = folded(*story)
    own_sids, all_sids = {None, progress.answer_siprec_sid}, {None, *progress.sids}
    if progress.answer_siprec_sid is None:
        own_sids = all_sids
    ours = [notice for notice in story if notice.call_sid in {None, "call-1"}]
    for shown, kinds in (
        (progress.started_at, {NoticeKind.STARTED}),
        (progress.ended_at, {NoticeKind.STOPPED, NoticeKind.FAILED}),
    ):
        own, every = (
            [n.time for n in ours if n.kind in kinds and n.time and n.siprec_sid in sids]
            for sids in (own_sids, all_sids)
        )
        assert shown == min(own or every, default=None)


# States


def test_the_states_rank_as_they_are_documented() -> None:
    ranked = sorted(State, key=lambda state: state.rank)
    assert ranked == ["requested", "unanswered", "refused", "accepted", "started", "stopped", "failed"]
    assert [state for state in ranked if state.is_over] == ["refused", "stopped", "failed"]


@pytest.mark.parametrize(
    ("notices", "state"),
    [
        ([], "requested"),
        ([UNANSWERED], "unanswered"),
        ([REFUSED], "refused"),
        ([ACCEPTED], "accepted"),
        ([Notice(NoticeKind.STOP_REQUESTED, NOON)], "requested"),
        ([ACCEPTED, Notice(NoticeKind.STOP_REQUESTED, NOON)], "accepted"),
        ([UNANSWERED, callback(NoticeKind.STARTED)], "started"),
        ([REFUSED, callback(NoticeKind.STARTED)], "started"),
        ([REFUSED, callback(NoticeKind.STOPPED)], "stopped"),
        ([callback(NoticeKind.STOPPED, 5), callback(NoticeKind.STARTED, 9)], "stopped"),
        ([callback(NoticeKind.FAILED, 5), callback(NoticeKind.STOPPED, 9)], "failed"),
        ([callback(NoticeKind.STOPPED, 5), callback(NoticeKind.FAILED, 9)], "failed"),
        ([callback(NoticeKind.OTHER)], "accepted"),  # Telnyx knows it by a sid
        ([callback(NoticeKind.OTHER, siprec_sid=None)], "requested"),
        ([REFUSED, callback(NoticeKind.OTHER)], "accepted"),
        ([callback(NoticeKind.STARTED), callback(NoticeKind.OTHER, 20)], "started"),
        ([callback(NoticeKind.STARTED, siprec_sid=None, call_sid=None)], "started"),
    ],
)
def test_the_highest_state_that_is_vouched_for_stands(notices: list[Notice], state: str) -> None:
    assert folded(*notices).state == state


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("siprec-started", NoticeKind.STARTED),
        ("siprec-stopped", NoticeKind.STOPPED),
        ("siprec-failed", NoticeKind.FAILED),
        ("accepted", NoticeKind.OTHER),  # no callback answers for Telnyx's API
        ("refused", NoticeKind.OTHER),
        ("unanswered", NoticeKind.OTHER),
        ("stop-requested", NoticeKind.OTHER),
        ("other", NoticeKind.OTHER),
        ("SIPREC-STARTED", NoticeKind.OTHER),
        ("", NoticeKind.OTHER),
        (None, NoticeKind.OTHER),
    ],
)
def test_only_three_events_are_known(event: str | None, kind: NoticeKind) -> None:
    assert NoticeKind.of_event(event) is kind


# Times


@pytest.mark.parametrize(
    ("offset", "is_believed"),
    [
        (timedelta(0), True),
        (timedelta(days=-7), True),
        (timedelta(days=-7, microseconds=-1), False),
        (timedelta(minutes=5), True),
        (timedelta(minutes=5, microseconds=1), False),
    ],
)
def test_a_timestamp_far_from_its_receipt_moves_the_state_and_sets_no_time(
    offset: timedelta, is_believed: bool
) -> None:
    received_at = NOON + 10 * SECOND
    started = folded(callback(NoticeKind.STARTED, 10, happened=received_at + offset))
    assert (started.state, started.started_at) == ("started", received_at + offset if is_believed else None)
    ended = folded(callback(NoticeKind.FAILED, 10, happened=received_at + offset))
    assert (ended.state, ended.ended_at) == ("failed", received_at + offset if is_believed else None)


def test_a_time_comes_from_the_next_one_where_the_earliest_cannot_be_believed() -> None:
    wild = callback(NoticeKind.STARTED, 3, happened=NOON - timedelta(days=30))
    assert folded(wild, callback(NoticeKind.STARTED, 8)).started_at == NOON + 7 * SECOND


def test_the_wish_to_stop_is_a_time_and_the_earliest_counts() -> None:
    wishes = [Notice(NoticeKind.STOP_REQUESTED, NOON + s * SECOND) for s in (9, 4, 7)]
    assert folded(ACCEPTED, *wishes).stop_requested_at == NOON + 4 * SECOND


# Sids


def test_both_sids_are_kept_where_answer_and_callback_differ() -> None:
    progress = folded(ACCEPTED, callback(NoticeKind.STARTED, siprec_sid="sid-2"))
    assert (progress.state, progress.answer_siprec_sid, progress.callback_siprec_sid) == (
        "started",
        "sid-1",
        "sid-2",
    )
    assert (progress.siprec_sid, progress.callback_siprec_sid) == ("sid-1", "sid-2")
    assert progress.sids == {"sid-1", "sid-2"}


def test_one_sid_that_both_name_is_shown_once() -> None:
    for notices in ([ACCEPTED], [callback(NoticeKind.STARTED)], [ACCEPTED, callback(NoticeKind.STARTED)]):
        progress = folded(*notices)
        assert (progress.siprec_sid, progress.other_siprec_sid) == ("sid-1", None)


@pytest.mark.parametrize(
    "stranger",
    [
        callback(NoticeKind.FAILED, call_sid="call-2"),
        callback(NoticeKind.FAILED, call_sid="call-2", siprec_sid="sid-9"),
        callback(NoticeKind.FAILED, heard=20, siprec_sid="sid-3"),
    ],
    ids=["another call", "another call's sid", "a third sid"],
)
def test_what_belongs_to_something_else_moves_nothing(stranger: Notice) -> None:
    own = [ACCEPTED, callback(NoticeKind.STARTED), callback(NoticeKind.OTHER, siprec_sid="sid-2")]
    assert folded(*own, stranger) == folded(stranger, *own) == folded(*own)


def test_besides_the_answer_s_sid_the_one_other_that_was_received_first_counts() -> None:
    other = callback(NoticeKind.STOPPED, 20, siprec_sid="sid-2")
    third = callback(NoticeKind.FAILED, 30, happened=NOON, siprec_sid="sid-3")
    own = [ACCEPTED, callback(NoticeKind.STARTED)]
    assert folded(*own, other).state == "stopped"
    assert folded(third, *own, other) == folded(*own, other)


def test_a_later_callback_with_an_earlier_timestamp_takes_nothing_over() -> None:
    failed = callback(NoticeKind.FAILED, 10)
    late = callback(NoticeKind.STARTED, 30, happened=NOON, siprec_sid="sid-2")
    for own in ([ACCEPTED, failed], [failed]):
        progress = folded(*own, late)
        assert (progress.state, progress.error) == ("failed", failed.error)
        assert progress.ended_at == failed.time


def test_times_and_errors_come_from_the_answer_s_sid_where_it_has_them() -> None:
    own, other = (
        callback(NoticeKind.FAILED, 20, error="own"),
        callback(NoticeKind.FAILED, 10, siprec_sid="sid-2"),
    )
    started = callback(NoticeKind.STARTED, 5, siprec_sid="sid-2")
    progress = folded(ACCEPTED, own, other, started)
    assert (progress.ended_at, progress.failure) == (own.time, own.error)
    assert progress.started_at == started.time


def test_a_session_is_folded_from_the_callbacks_received_first_and_no_others() -> None:
    many = [callback(NoticeKind.OTHER, at) for at in range(MOST_FOLDED)]
    late = callback(NoticeKind.FAILED, MOST_FOLDED)
    assert folded(*many, late).state == "accepted"
    assert folded(*many[:-1], late).state == "failed"


def test_another_account_still_moves_it() -> None:
    assert folded(callback(NoticeKind.STARTED, account_sid="account-2")).state == "started"


# Errors


@pytest.mark.parametrize(
    ("notices", "error"),
    [
        ([REFUSED], REJECTED),
        ([UNANSWERED], SILENCE),
        ([ACCEPTED], None),
        ([REFUSED, callback(NoticeKind.STARTED)], None),
        ([UNANSWERED, callback(NoticeKind.STOPPED)], None),
        ([REFUSED, callback(NoticeKind.OTHER)], None),
        ([REFUSED, callback(NoticeKind.FAILED)], Error(ErrorKind.SIPREC_FAILED, detail="no-answer")),
        (
            [callback(NoticeKind.FAILED, 20, error="late"), callback(NoticeKind.FAILED, 10, error="early")],
            Error(ErrorKind.SIPREC_FAILED, detail="early"),
        ),
    ],
)
def test_an_error_explains_the_present_state_and_no_other(notices: list[Notice], error: Error | None) -> None:
    assert folded(*notices).error == error


@pytest.mark.parametrize("kind", ErrorKind)
def test_only_what_did_nothing_may_be_asked_again(kind: ErrorKind) -> None:
    is_repeatable = kind in {ErrorKind.UNREACHABLE, ErrorKind.RATE_LIMITED}
    refused = Notice(NoticeKind.REFUSED, NOON, error=Error(kind))
    for notices, expected in (([refused], is_repeatable), ([refused, callback(NoticeKind.STARTED)], False)):
        session = Session("id", Origin.API, ORDER, NOON, NOON, folded(*notices), answer=refused)
        assert session.can_be_asked_again is expected


@pytest.mark.parametrize(("deadline", "is_starting"), [(1, True), (0, False), (None, False)])
def test_telnyx_is_waited_for_until_it_answers_or_the_deadline(
    deadline: int | None, is_starting: bool
) -> None:
    deadline_at = None if deadline is None else NOON + deadline * SECOND
    session = Session("id", Origin.API, ORDER, NOON, NOON, deadline_at=deadline_at)
    assert session.is_starting(NOON) is is_starting


def test_while_a_further_attempt_is_open_a_refused_session_is_not_over() -> None:
    refused = Session("id", Origin.API, ORDER, NOON, NOON, folded(REFUSED), answer=REFUSED)
    assert refused.is_over
    assert not replace(refused, attempts=2, deadline_at=NOON).is_over


# What a callback contradicts

OTHER_CALL = "CallSid is another call's: it moved nothing"
OTHER_ACCOUNT = "AccountSid is not the one that was asked for"
THIRD_SID = "SiprecSid is neither the answer's nor the first other one: it moved nothing"
UNLIKE_ANSWER = "SiprecSid is not the one that Telnyx answered"


@pytest.mark.parametrize(
    ("progress", "said", "expected"),
    [
        (Progress(), {}, None),
        (Progress(answer_siprec_sid="sid-1", callback_siprec_sid="sid-1"), {}, None),
        (Progress(), {"account_sid": None, "call_sid": None, "siprec_sid": None}, None),
        (Progress(), {"account_sid": "account-2"}, OTHER_ACCOUNT),
        (Progress(), {"call_sid": "call-2"}, OTHER_CALL),
        (Progress(answer_siprec_sid="sid-0", callback_siprec_sid="sid-1"), {}, UNLIKE_ANSWER),
        (Progress(answer_siprec_sid="sid-9", callback_siprec_sid="sid-0"), {}, THIRD_SID),
        (Progress(callback_siprec_sid="sid-0"), {}, THIRD_SID),
        (Progress(answer_siprec_sid="sid-1", callback_siprec_sid="sid-0"), {}, None),
        (
            Progress(callback_siprec_sid="sid-0"),
            {"account_sid": "account-2", "call_sid": "call-2"},
            f"{OTHER_CALL}; {OTHER_ACCOUNT}; {THIRD_SID}",
        ),
    ],
)
def test_a_contradiction_is_put_into_words(
    progress: Progress, said: dict[str, Any], expected: str | None
) -> None:
    notice = replace(callback(NoticeKind.STARTED), **said)
    assert contradiction(ORDER, progress, notice) == expected


@settings(deadline=None)
@given(stories())
def test_whatever_moved_nothing_says_so(story: list[Notice]) -> None:
    progress = folded(*story)
    for notice in (notice for notice in story if notice.kind.is_callback):
        idle = "it moved nothing" in (contradiction(ORDER, progress, notice) or "")
        if idle:
            assert folded(*(one for one in story if one != notice)) == progress


# What changed


def test_a_new_session_shows_only_what_is_known_of_it() -> None:
    assert changes(None, Progress()) == {"state": (None, State.REQUESTED)}


def test_changes_are_the_facts_that_differ() -> None:
    before = folded(UNANSWERED)
    after = folded(UNANSWERED, callback(NoticeKind.FAILED))
    assert changes(before, after) == {
        "state": (State.UNANSWERED, State.FAILED),
        "siprec_sid": (None, "sid-1"),
        "ended_at": (None, NOON + 9 * SECOND),
        "error": (SILENCE, Error(ErrorKind.SIPREC_FAILED, detail="no-answer")),
    }
    assert changes(after, after) == {}


# Ids


def test_an_id_is_a_uuid_of_version_7_that_tells_its_time() -> None:
    with time_machine.travel(NOON, tick=False):
        id = new_id()
    read = uuid.UUID(id)
    assert (read.version, read.variant) == (7, uuid.RFC_4122)
    assert read.int >> 80 == NOON.timestamp() * 1000
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", id)


def test_ids_sort_by_the_millisecond_in_which_they_were_made() -> None:
    ids = []
    with time_machine.travel(NOON, tick=False) as clock:
        for _ in range(50):
            ids.append(new_id())
            clock.shift(0.001)
    assert ids == sorted(ids)


def test_ids_of_one_millisecond_differ() -> None:
    with time_machine.travel(NOON, tick=False):
        assert len({new_id() for _ in range(1000)}) == 1000
