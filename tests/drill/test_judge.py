"""What the drill calls lost, stored twice and wrong."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.drill.callback import FAILED, STARTED, STOPPED, Callback, Session
from tests.drill.fold import fold
from tests.drill.judge import Excuse, Judge, Part, Verdict
from tests.drill.ledger import StoredCallback, StoredSession

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
SESSION = Session("id-1", "account-1", "v3:drill-1", "sid-1", "http://127.0.0.1/callbacks/siprec/t", "POST")

ANSWERED = timedelta(days=9)  # after it happened; later than anything here is received


def told(
    event: str, minute: int, answers: Sequence[int | None] = (200,), *, is_forged: bool = False
) -> Callback:
    at = NOON + timedelta(minutes=minute)
    callback = Callback(SESSION, event, at, at.isoformat(), is_forged, sent=len(answers))
    for answer in answers:
        callback.answers.append(answer)
        if answer == 200:
            callback.kept_at.append((at + ANSWERED).timestamp())
    return callback


def stored(event: str, minute: int, deliveries: int = 1, received: timedelta | None = None) -> StoredCallback:
    at = NOON + timedelta(minutes=minute)
    received_at = at + (received or timedelta(seconds=1))
    return StoredCallback("id-1", "v3:drill-1", "sid-1", event, at, received_at, deliveries)


def session(state: str, started: int | None = None, ended: int | None = None) -> StoredSession:
    times = [None if at is None else NOON + timedelta(minutes=at) for at in (started, ended)]
    detail = "no-answer 000000" if state == "failed" else None
    return StoredSession("id-1", "v3:drill-1", "api", state, "sid-1", times[0], times[1], detail)


def judge(
    sent: list[Callback],
    rows: list[StoredCallback],
    found: list[StoredSession],
    status: int = 201,
    left: bytes = b"",
    excuses: Sequence[Excuse] = (),
) -> Verdict:
    part = Part(excuses=list(excuses))
    for callback in sent:
        part.log.note(callback)
    part.promises.answers["id-1"] = status
    part.promises.at["id-1"] = NOON.timestamp()
    judging = Judge(rows, found, left)
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


@pytest.mark.parametrize("written", [bytes, b64encode])
def test_what_is_left_on_the_disk_is_not_lost_and_not_shown(written: Callable[[bytes], bytes]) -> None:
    left = b'{"body":"' + written(SENT[1].form) + b'"}'
    verdict = judge(SENT, GOOD[:1], [session("started", 1)], left=left)
    assert (verdict.lost, verdict.not_shown, verdict.wrong) == (0, 1, 0)
    assert "left on the disk, 0 of 1 shown" in verdict.offences[0]


def test_a_receipt_after_the_answer_is_wrong() -> None:
    late = replace(GOOD[1], received_at=NOON + timedelta(minutes=9) + ANSWERED + timedelta(seconds=1))
    verdict = judge(SENT, [GOOD[0], late], [replace(RIGHT, ended_at=None)])
    assert counts(verdict) == (0, 0, 1)
    assert "after it was answered" in verdict.offences[0]


class TestAnExcuse:
    """What only the old primary of an asynchronous standby had, and was answered before it was lost."""

    def excuse(self, until: timedelta) -> Excuse:
        happened_at = SENT[1].happened_at
        return Excuse((happened_at + ANSWERED + until).timestamp(), {happened_at}, {"id-1"})

    def test_what_was_answered_before_may_be_missing(self) -> None:
        verdict = judge(SENT, GOOD[:1], [session("started", 1)], excuses=[self.excuse(timedelta(seconds=1))])
        assert counts(verdict) == (0, 0, 0)

    def test_what_was_answered_later_may_not(self) -> None:
        excuse = self.excuse(timedelta(seconds=-1))
        assert counts(judge(SENT, GOOD[:1], [session("started", 1)], excuses=[excuse])) == (1, 0, 0)

    def test_another_may_not(self) -> None:
        excuse = replace(self.excuse(timedelta(seconds=1)), happened_at={SENT[0].happened_at})
        assert counts(judge(SENT, GOOD[:1], [session("started", 1)], excuses=[excuse])) == (1, 0, 0)

    def test_a_session_that_was_promised_before_may_be_missing(self) -> None:
        assert counts(judge([], [], [], excuses=[self.excuse(timedelta())])) == (0, 0, 0)
        early = Excuse(NOON.timestamp() - 1, set(), {"id-1"})
        assert counts(judge([], [], [], excuses=[early])) == (1, 0, 0)


class TestOtherSids:
    """What callbacks with other SiprecSids make of a session that Telnyx answered as sid-1."""

    @staticmethod
    def other(sid: str, event: str, minute: int, seconds: int = 1) -> StoredCallback:
        return replace(stored(event, minute, received=timedelta(seconds=seconds)), siprec_sid=sid)

    def test_the_one_that_was_received_first_counts_whatever_its_timestamp(self) -> None:
        rows = [*GOOD, self.other("sid-2", FAILED, 30), self.other("sid-3", FAILED, 2, seconds=3600)]
        assert fold(rows, "sid-1")["state"] == "failed"
        assert fold(rows, "sid-1")["error_detail"] == "no-answer 000000"

    def test_a_third_moves_nothing(self) -> None:
        rows = [*GOOD, self.other("sid-2", STARTED, 0), self.other("sid-3", FAILED, 5)]
        assert fold(rows, "sid-1")["state"] == "stopped"

    def test_times_are_those_of_the_answered_one_where_it_has_them(self) -> None:
        rows = [stored(STARTED, 5), self.other("sid-2", STARTED, 0), self.other("sid-2", STOPPED, 9)]
        told = fold(rows, "sid-1")
        assert told["started_at"] == NOON + timedelta(minutes=5)
        assert told["ended_at"] == NOON + timedelta(minutes=9)
        assert told["siprec_sid"] == "sid-1"
