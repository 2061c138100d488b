"""Why a session is not as it was asked for, whose side that is, and what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from service.domain import causes
from service.domain.causes import Side
from service.domain.notice import Error, ErrorKind
from service.domain.overdue import Overdue, OverdueKind, Watched
from service.domain.session import Origin, Progress, Session
from service.domain.start import Order
from service.domain.state import State

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SESSION = Session("id-1", Origin.API, Order("account-1", "call-1"), NOON, NOON)

# An HTTP status and code as Telnyx answers them, and how its client reads the status.
ERRORS = [
    (ErrorKind.REJECTED, 404, None, "Resource not found", "call_unknown", Side.APP),
    (ErrorKind.REJECTED, 404, "10005", "Resource not found", "call_unknown", Side.APP),
    (ErrorKind.REJECTED, 422, "10032", "Unprocessable", "fields_invalid", Side.APP),
    (ErrorKind.REJECTED, 422, "10026", None, "fields_invalid", Side.APP),
    (ErrorKind.REJECTED, 422, "10004", None, "fields_invalid", Side.APP),
    (ErrorKind.REJECTED, 422, "90015", None, "call_id_invalid", Side.APP),
    (ErrorKind.REJECTED, 422, "90018", None, "call_ended", Side.APP),
    (ErrorKind.REJECTED, 422, "90034", None, "call_not_answered", Side.APP),
    (ErrorKind.REJECTED, 418, "4711", None, "rejected", Side.APP),
    (ErrorKind.REJECTED, 422, "10009", None, "rejected", Side.APP),  # a code that the status belies
    (ErrorKind.CREDENTIALS, 401, "10009", None, "credentials", Side.US),
    (ErrorKind.CREDENTIALS, 401, None, None, "credentials", Side.US),
    (ErrorKind.CREDENTIALS, 403, "10010", None, "not_authorized", Side.US),
    (ErrorKind.CREDENTIALS, 403, None, None, "not_authorized", Side.US),
    (ErrorKind.RATE_LIMITED, 429, "10011", None, "rate_limited", Side.US),
    (ErrorKind.UNREACHABLE, None, None, "Telnyx could not be reached", "unreachable", Side.NETWORK),
    (ErrorKind.NO_ANSWER, None, None, "Telnyx did not answer in time", "no_answer", Side.NETWORK),
    (ErrorKind.NO_ANSWER, 200, None, "the answer cannot be read", "no_answer", Side.NETWORK),
    (ErrorKind.NO_ANSWER, 503, "10037", None, "telnyx_error", Side.TELNYX),
    (ErrorKind.NO_ANSWER, 500, None, None, "telnyx_error", Side.TELNYX),
    (ErrorKind.SIPREC_FAILED, None, None, "no-answer", "recorder_no_answer", Side.RECORDER),
    (ErrorKind.SIPREC_FAILED, None, None, "something else", "siprec_failed", Side.RECORDER),
    (ErrorKind.SIPREC_FAILED, None, None, None, "siprec_failed", Side.RECORDER),
]


@pytest.mark.parametrize(("kind", "status", "code", "detail", "cause", "side"), ERRORS)
def test_an_error_has_a_cause_on_a_side(
    kind: ErrorKind, status: int | None, code: str | None, detail: str | None, cause: str, side: Side
) -> None:
    found = causes.of_error(Error(kind, status, code, detail))
    assert (found.code, found.side) == (cause, side)


def test_every_kind_of_error_is_in_the_table() -> None:
    assert {kind for kind, *_ in ERRORS} == set(ErrorKind)


# A code never changes what it means, or goes; a new one is added here.
CODES = {
    *("rejected", "call_unknown", "call_id_invalid", "call_ended", "call_not_answered", "fields_invalid"),
    *("credentials", "not_authorized", "rate_limited", "unreachable", "no_answer", "telnyx_error"),
    *("recorder_no_answer", "siprec_failed"),
    *("overdue_not_started", "overdue_no_answer", "overdue_not_stopped", "overdue_not_ended"),
    *("stopped_early", "unknown", "never_started", "end_not_told"),
}


def test_the_table_of_version_1_has_these_codes() -> None:
    assert (causes.VERSION, set(causes.BY_CODE)) == (1, CODES)


@pytest.mark.parametrize("cause", causes.BY_CODE.values(), ids=lambda cause: cause.code)
def test_words_are_a_sentence_and_what_to_do_is_whole_ones(cause: causes.Cause) -> None:
    assert cause.words[0].isupper()
    assert cause.words[-1].isalnum()
    assert cause.what_to_do[0].isupper()
    assert cause.what_to_do.endswith(".")


def watched(state: State, kind: OverdueKind, why: str, call_status: str | None = None) -> Session:
    overdue = Overdue(kind, NOON, why)
    return replace(SESSION, progress=Progress(state), watched=Watched(overdue, call_status))


@pytest.mark.parametrize("kind", OverdueKind)
def test_what_is_overdue_has_a_cause_and_what_is_unknown_is_ours(kind: OverdueKind) -> None:
    known = causes.of(watched(State.ACCEPTED, kind, "no callback came"))
    assert known == causes.BY_OVERDUE_KIND[kind]
    unknown = causes.of(watched(State.ACCEPTED, kind, "unknown: callbacks may still wait on host B"))
    assert unknown is not None
    assert (unknown.code, unknown.side) == ("unknown", Side.US)


URGENT = [
    (OverdueKind.NOT_STARTED, "in-progress", "nothing came", True),
    (OverdueKind.NO_ANSWER, "ringing", "nothing came", True),
    (OverdueKind.STOPPED_EARLY, "in-progress", "nobody asked", True),
    (OverdueKind.NOT_STARTED, "completed", "nothing came", False),
    (OverdueKind.NOT_STARTED, None, "nothing came", False),
    (OverdueKind.NOT_STARTED, "queued", "nothing came", False),  # a word that nobody knows
    (OverdueKind.NOT_STARTED, "in-progress", "unknown: we were away from 10:02 to 10:04", False),
    (OverdueKind.NOT_STOPPED, "in-progress", "nothing came", False),  # it is recorded, all too long
    (OverdueKind.NOT_ENDED, "in-progress", "nothing came", False),
]


@pytest.mark.parametrize(("kind", "call_status", "why", "is_urgent"), URGENT)
def test_a_live_call_that_is_probably_not_recorded_is_urgent(
    kind: OverdueKind, call_status: str | None, why: str, *, is_urgent: bool
) -> None:
    session = watched(State.ACCEPTED, kind, why, call_status)
    assert causes.is_live_and_unrecorded(session) is is_urgent
    assert not causes.is_live_and_unrecorded(replace(session, merged_into="id-2"))


def test_what_is_in_order_has_no_cause() -> None:
    for state in (State.REQUESTED, State.ACCEPTED, State.STARTED, State.STOPPED):
        assert causes.of(replace(SESSION, progress=Progress(state))) is None


def test_an_error_explains_its_state_and_what_is_overdue_comes_before_it() -> None:
    silence = Error(ErrorKind.NO_ANSWER)
    unanswered = replace(SESSION, progress=Progress(State.UNANSWERED, refusal=silence))
    assert causes.of(unanswered) == causes.BY_CODE["no_answer"]
    late = replace(unanswered, watched=Watched(Overdue(OverdueKind.NO_ANSWER, NOON, "nothing came")))
    assert causes.of(late) == causes.BY_CODE["overdue_no_answer"]
    assert causes.of(replace(late, merged_into="id-2")) is None


def test_a_presumed_end_is_a_cause_until_telnyx_tells_it() -> None:
    presumed = Watched(presumed_ended_at=NOON, presumed_why="the call is over")
    accepted = replace(SESSION, progress=Progress(State.ACCEPTED), watched=presumed)
    assert causes.of(accepted) == causes.BY_CODE["never_started"]
    started = replace(accepted, progress=Progress(State.STARTED, started_at=NOON))
    assert causes.of(started) == causes.BY_CODE["end_not_told"]
    stopped = Progress(State.STOPPED, started_at=NOON, ended_at=NOON)
    assert causes.of(replace(accepted, progress=stopped)) is None
    undated = Progress(State.STOPPED)  # its Timestamp could not be believed
    assert causes.of(replace(accepted, progress=undated)) is None
