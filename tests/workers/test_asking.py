"""Telnyx is asked for calls: how often, and what becomes of its answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from service.domain.notice import Error, ErrorKind
from service.domain.overdue import Call
from service.ledger.look import Answer, Question
from service.workers import asking as worker
from service.workers.asking import Asking, Budget
from tests.house import wait_until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def question(number: int, account_sid: str = "account-1") -> Question:
    return Question(f"session-{number}", NOW, account_sid, f"call-{number}", NOW)


def asking(ask: Callable[[str, str], Call | Error], budget: Budget | None = None) -> Asking:
    return Asking(ask, lambda account_sid: account_sid == "account-1", budget or Budget(100), is_on=True)


def answered(asked: Asking, count: int) -> list[Answer]:
    found: list[Answer] = []

    def have_come() -> bool:
        found.extend(asked.answers(count - len(found)))
        return len(found) == count

    wait_until(have_come)
    return found


def test_so_many_in_any_minute_and_no_more(clock: Clock) -> None:
    budget = Budget(2, clock)
    taken = []
    for at in (0, 30, 59, 60, 61, 90, 91):
        clock.seconds = 1000.0 + at
        taken.append((at, budget.take("account-1")))
    assert taken == [(0, True), (30, True), (59, False), (60, True), (61, False), (90, True), (91, False)]


def test_each_account_has_its_own_budget(clock: Clock) -> None:
    budget = Budget(1, clock)
    assert [budget.take(account) for account in ("one", "other", "one", "other")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("wait", "seconds"), [(None, 30), (timedelta(seconds=7), 7), (timedelta(hours=5), 600)], ids=str
)
def test_where_telnyx_has_too_many_questions_that_account_waits(
    clock: Clock, wait: timedelta | None, seconds: int
) -> None:
    budget = Budget(100, clock)
    budget.back_off("account-1", wait)
    assert budget.take("account-2")
    clock.seconds += seconds - 1
    assert not budget.take("account-1")
    clock.seconds += 1
    assert budget.take("account-1")


def test_what_telnyx_says_is_an_answer_and_so_is_that_it_does_not_know_the_call() -> None:
    says: dict[str, Call | Error] = {
        "call-1": Call("completed"),
        "call-2": Error(ErrorKind.REJECTED, status=404),
    }
    asked = asking(lambda _account_sid, call_sid: says[call_sid])
    asked.put(question(1))
    asked.put(question(2))
    found = {answer.question.session_id: answer.call for answer in answered(asked, 2)}
    assert found == {"session-1": Call("completed"), "session-2": None}


def test_what_telnyx_does_not_say_is_no_answer() -> None:
    says: dict[int, Call | Error] = {
        1: Error(ErrorKind.NO_ANSWER),
        2: Error(ErrorKind.REJECTED, status=500),
        3: Call("in-progress"),
    }
    asked = asking(lambda _account_sid, call_sid: says[int(call_sid[-1])])
    for number in says:
        asked.put(question(number))
    assert [answer.call for answer in answered(asked, 1)] == [Call("in-progress")]
    assert asked.answers(10) == []


def test_a_question_that_fails_does_not_end_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "ASKED_AT_ONCE", 1)

    def ask(_account_sid: str, call_sid: str) -> Call:
        if call_sid == "call-1":
            raise ValueError(call_sid)
        return Call("in-progress")

    asked = asking(ask)
    asked.put(question(1))
    asked.put(question(2))
    assert [answer.question.session_id for answer in answered(asked, 1)] == ["session-2"]


def test_after_too_many_requests_nothing_may_be_asked_for_that_account() -> None:
    busy = Error(ErrorKind.RATE_LIMITED, status=429, retry_after=timedelta(minutes=5))
    asked = asking(lambda _account_sid, _call_sid: busy)
    assert asked.may("account-1")
    asked.put(question(1))
    wait_until(lambda: not asked.may("account-1"))


def test_no_more_than_a_few_are_asked_at_once_and_no_more_wait_than_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "MOST_WAITING", 3)
    free, at_it = threading.Event(), set[str]()

    def ask(_account_sid: str, call_sid: str) -> Call:
        at_it.add(call_sid)
        free.wait(10)
        return Call("in-progress")

    asked = asking(ask)
    for number in range(worker.ASKED_AT_ONCE):
        asked.put(question(number))
    wait_until(lambda: len(at_it) == worker.ASKED_AT_ONCE)
    may = []
    for number in range(4):
        may.append(asked.may("account-1"))
        asked.put(question(100 + number))
    assert may == [True, True, True, False]
    assert len(at_it) == worker.ASKED_AT_ONCE
    free.set()
    assert len(answered(asked, worker.ASKED_AT_ONCE + 4)) == worker.ASKED_AT_ONCE + 4


def test_what_has_waited_for_too_long_is_not_asked_any_more(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ASKED_AT_ONCE", 1)
    free, asked_for = threading.Event(), list[str]()

    def ask(_account_sid: str, call_sid: str) -> Call:
        asked_for.append(call_sid)
        free.wait(10)
        return Call("in-progress")

    asked = Asking(ask, lambda _account: True, Budget(100), is_on=True, clock=clock)
    asked.put(question(1))
    wait_until(lambda: asked_for == ["call-1"])
    asked.put(question(2))
    clock.seconds += worker.STALE_SECONDS
    asked.put(question(3))
    free.set()
    assert [answer.question.session_id for answer in answered(asked, 2)] == ["session-1", "session-3"]


def test_answers_that_are_put_back_come_again_in_their_order() -> None:
    asked = asking(lambda _account_sid, _call_sid: Call("in-progress"))
    for number in range(3):
        asked.put(question(number))
    found = answered(asked, 3)
    asked.put_back(found[:2])
    assert asked.answers(1) == found[:1]
    assert asked.answers(5) == found[1:2]


def test_an_account_without_a_key_and_a_watch_that_must_not_ask() -> None:
    asked = asking(lambda _account_sid, _call_sid: Call("in-progress"))
    assert (asked.is_possible("account-1"), asked.may("account-2")) == (True, False)
    off = Asking(lambda _a, _c: Call("in-progress"), lambda _account: True, Budget(100), is_on=False)
    assert (off.is_possible("account-1"), off.may("account-1")) == (False, False)
