"""What the drill calls lost, stored twice and wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.drill.callback import FAILED, STARTED, STOPPED, Callback, Session
from tests.drill.judge import Judge, Part, Verdict
from tests.drill.ledger import StoredCallback, StoredSession

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
SESSION = Session("id-1", "account-1", "v3:drill-1", "sid-1", "http://127.0.0.1/callbacks/siprec/t", "POST")


def told(
    event: str, minute: int, answers: Sequence[int | None] = (200,), *, is_forged: bool = False
) -> Callback:
    at = NOON + timedelta(minutes=minute)
    return Callback(SESSION, event, at, at.isoformat(), is_forged, len(answers), list(answers))


def stored(event: str, minute: int, deliveries: int = 1, received: timedelta | None = None) -> StoredCallback:
    at = NOON + timedelta(minutes=minute)
    received_at = at + (received or timedelta(seconds=1))
    return StoredCallback("id-1", "v3:drill-1", event, at, received_at, deliveries)


def session(state: str, started: int | None = None, ended: int | None = None) -> StoredSession:
    times = [None if at is None else NOON + timedelta(minutes=at) for at in (started, ended)]
    detail = "no-answer 000000" if state == "failed" else None
    return StoredSession("id-1", "v3:drill-1", "api", state, "sid-1", times[0], times[1], detail)


def judge(
    sent: list[Callback], rows: list[StoredCallback], found: list[StoredSession], status: int = 201
) -> Verdict:
    part = Part()
    for callback in sent:
        part.log.note(callback)
    part.promises.answers["id-1"] = status
    judging = Judge(rows, found)
    verdict = judging.of(part)
    verdict += judging.strangers([part])
    return verdict


def counts(verdict: Verdict) -> tuple[int, int, int]:
    return verdict.lost, verdict.twice, verdict.wrong


GOOD = [stored(STARTED, 1), stored(STOPPED, 9)]
SENT = [told(STARTED, 1), told(STOPPED, 9)]
RIGHT = session("stopped", 1, 9)


def test_what_is_as_it_was_answered_is_no_offence() -> None:
    verdict = judge(SENT, GOOD, [RIGHT])
    assert counts(verdict) == (0, 0, 0)
    assert (verdict.sent, verdict.answered, verdict.stored, verdict.offences) == (2, 2, 2, [])


@pytest.mark.parametrize("answer", [None, 503])
def test_what_was_not_answered_200_may_be_there_or_not(answer: int | None) -> None:
    sent = [*SENT, told(FAILED, 5, [answer])]
    assert counts(judge(sent, GOOD, [RIGHT])) == (0, 0, 0)
    assert counts(judge(sent, [*GOOD, stored(FAILED, 5)], [session("failed", 1, 5)])) == (0, 0, 0)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([stored(STARTED, 1)], (1, 0, 1)),
        ([*GOOD, stored(STOPPED, 9)], (0, 1, 0)),
        ([stored(STARTED, 1), stored(STOPPED, 9, deliveries=2)], (0, 1, 0)),
        ([*GOOD, stored(STARTED, 7)], (0, 0, 1)),
        ([stored(STARTED, 1), stored("siprec-paused", 9)], (0, 0, 2)),
    ],
    ids=["lost", "twice", "counted twice", "sent by nobody", "another event"],
)
def test_what_is_stored_otherwise_is_found(
    rows: list[StoredCallback], expected: tuple[int, int, int]
) -> None:
    assert counts(judge(SENT, rows, [RIGHT])) == expected


@pytest.mark.parametrize(("deliveries", "lost"), [(1, 1), (2, 0), (3, 0)])
def test_every_delivery_that_was_answered_200_is_counted(deliveries: int, lost: int) -> None:
    sent = [told(STARTED, 1, [200, None, 200])]
    assert counts(judge(sent, [stored(STARTED, 1, deliveries)], [session("started", 1)])) == (lost, 0, 0)


@pytest.mark.parametrize(
    "found",
    [
        session("started", 1),
        session("failed", 1, 9),
        session("stopped", 1),
        session("stopped", 2, 9),
        replace(RIGHT, siprec_sid="sid-2"),
        replace(RIGHT, error_detail="no-answer"),
    ],
)
def test_a_session_in_a_wrong_state_is_found(found: StoredSession) -> None:
    assert counts(judge(SENT, GOOD, [found])) == (0, 0, 1)


def test_a_timestamp_too_far_from_its_receipt_sets_no_time() -> None:
    late, early = timedelta(days=8), timedelta(minutes=-6)
    rows = [stored(STARTED, 1, received=late), stored(STOPPED, 9, received=early)]
    assert counts(judge(SENT, rows, [session("stopped")])) == (0, 0, 0)
    assert counts(judge(SENT, rows, [RIGHT])) == (0, 0, 1)


def test_a_forgery_that_was_taken_is_found() -> None:
    sent = [*SENT, told(FAILED, 5, [403], is_forged=True)]
    assert counts(judge(sent, GOOD, [RIGHT])) == (0, 0, 0)
    assert counts(judge(sent, [*GOOD, stored(FAILED, 5)], [session("failed", 1, 5)])) == (0, 0, 1)
    assert counts(judge([*SENT, told(FAILED, 5, [200], is_forged=True)], GOOD, [RIGHT])) == (0, 0, 1)


def test_a_session_that_was_promised_is_lost_if_it_is_not_there() -> None:
    assert counts(judge([], [], [], status=202)) == (1, 0, 0)


@pytest.mark.parametrize("state", ["requested", "unanswered", "accepted"])
def test_a_start_whose_outcome_was_unknown_may_have_either(state: str) -> None:
    assert counts(judge([], [], [session(state)], status=202)) == (0, 0, 0)


def test_a_genuine_callback_that_was_refused_is_an_offence() -> None:
    verdict = judge([*SENT, told(FAILED, 5, [403])], GOOD, [RIGHT])
    assert "genuine, and answered ['403']" in verdict.offences[0]
