"""The watch finds what did not happen in time, asks, tells, and takes it back."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from service.domain.notice import NoticeKind
from service.domain.overdue import Call, OverdueKind
from service.ledger.watch import BLIND_PAUSE
from service.ledger.watch_pace import Turns
from service.store import blind_periods, processes
from service.store.blind_periods import Why
from service.store.engine import Database
from tests.ledger.desk import Desk
from tests.ledger.tower import Tower, answered, called_back, ordered, stop_requested

ACCOUNT = "account-1"
ENDED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def accepted(database: Database) -> str:
    (session_id,) = ordered(database)
    answered(database, [session_id])
    return session_id


def test_before_its_deadline_nothing_is_overdue(database: Database) -> None:
    tower, session_id = Tower(database), accepted(database)
    assert tower.look(seconds(15)).looked_at == 0
    assert tower.watched(session_id).overdue is None


def test_accepted_and_not_started(database: Database, desk: Desk) -> None:
    tower, session_id = Tower(database), accepted(database)
    tower.look(seconds(20))
    overdue = tower.watched(session_id).overdue
    assert overdue is not None
    assert overdue.kind is OverdueKind.NOT_STARTED
    assert overdue.why == (
        "no siprec-started came within 20 s of Telnyx accepting it; whether its call goes on is not known"
    )
    called_back(desk, session_id, "siprec-started")
    tower.follow()
    assert tower.watched(session_id).overdue is None
    (opened, _), (closed, changes) = tower.lines(session_id)
    assert (opened, closed) == ("overdue", "overdue-closed")
    assert changes["overdue"][1] is None
    assert changes["overdue"][0]["kind"] == "not_started"


def test_unanswered_and_nothing_heard(database: Database, desk: Desk) -> None:
    tower, (session_id,) = Tower(database), ordered(database)
    answered(database, [session_id], NoticeKind.UNANSWERED)
    tower.look(seconds(30))
    overdue = tower.watched(session_id).overdue
    assert overdue is not None
    assert overdue.kind is OverdueKind.NO_ANSWER
    called_back(desk, session_id, "siprec-started")
    tower.follow()
    assert tower.watched(session_id).overdue is None


def test_a_stop_that_does_not_come(database: Database, desk: Desk) -> None:
    tower, session_id = Tower(database), accepted(database)
    called_back(desk, session_id, "siprec-started")
    stop_requested(database, session_id)
    tower.look(seconds(60))
    overdue = tower.watched(session_id).overdue
    assert overdue is not None
    assert overdue.kind is OverdueKind.NOT_STOPPED
    called_back(desk, session_id, "siprec-stopped")
    tower.follow()
    assert tower.watched(session_id).overdue is None
    assert tower.next_at(session_id) is None


def test_a_long_call_that_goes_on_is_not_overdue(database: Database, desk: Desk) -> None:
    tower, session_id = Tower(database, ACCOUNT), accepted(database)
    called_back(desk, session_id, "siprec-started")
    (question,) = tower.look(timedelta(hours=4)).questions
    tower.answer(question, Call("in-progress"))
    watched = tower.watched(session_id)
    assert (watched.overdue, watched.call_status) == (None, "in-progress")
    assert [kind for kind, _ in tower.lines(session_id)] == ["call-checked"]


def test_a_call_that_is_over_ends_its_session_presumably(database: Database, desk: Desk) -> None:
    tower, session_id = Tower(database, ACCOUNT), accepted(database)
    called_back(desk, session_id, "siprec-started")
    (question,) = tower.look(timedelta(hours=4)).questions
    tower.answer(question, Call("completed", ENDED))
    watched = tower.watched(session_id)
    assert watched.overdue is not None
    assert watched.overdue.kind is OverdueKind.NOT_ENDED
    assert watched.presumed_ended_at == ENDED
    assert tower.look(timedelta(minutes=1)).looked_at == 1  # for hosts that were not seen when it was decided
    assert tower.look(timedelta(days=1)).looked_at == 0  # there is nothing more to find out
    called_back(desk, session_id, "siprec-stopped")
    tower.follow()
    late = tower.watched(session_id)
    assert (late.overdue, late.presumed_ended_at) == (None, ENDED)


def test_an_answer_that_does_not_come_keeps_no_verdict_back(database: Database) -> None:
    tower, session_id = Tower(database, ACCOUNT), accepted(database)
    (question,) = tower.look(seconds(20)).questions
    assert tower.watched(session_id).overdue is None
    tower.look(seconds(3))
    unknown = tower.watched(session_id).overdue
    assert unknown is not None
    assert unknown.why.endswith("whether its call goes on is not known")
    tower.answer(tower.earlier(question, seconds(3)), Call("in-progress"))  # it comes after all
    known = tower.watched(session_id).overdue
    assert known is not None
    assert known.why.endswith("it is probably not being recorded")
    assert [kind for kind, _ in tower.lines(session_id)] == ["overdue", "overdue-changed"]


def test_a_call_that_telnyx_does_not_know_is_not_over(database: Database) -> None:
    tower, session_id = Tower(database, ACCOUNT), accepted(database)
    (question,) = tower.look(seconds(20)).questions
    tower.answer(question, None)
    watched = tower.watched(session_id)
    assert watched.overdue is not None
    assert watched.overdue.why.endswith("Telnyx does not know its call")
    assert watched.presumed_ended_at is None


def test_an_answer_about_what_is_awaited_no_more_is_dropped(database: Database, desk: Desk) -> None:
    tower, session_id = Tower(database, ACCOUNT), accepted(database)
    (question,) = tower.look(seconds(20)).questions
    called_back(desk, session_id, "siprec-started")
    tower.follow()
    assert tower.answer(question, Call("completed", ENDED)).looked_at == 0
    assert tower.watched(session_id).call_status is None


@pytest.mark.parametrize("is_followed", [True, False], ids=["followed before", "followed after"])
def test_a_verdict_that_a_callback_has_overtaken_does_not_stay(
    database: Database, desk: Desk, is_followed: bool
) -> None:
    """The callback is committed, and its event is not numbered or not followed yet."""
    tower, session_id = Tower(database), accepted(database)
    tower.follow()
    tower.pass_time(seconds(20))
    if is_followed:
        tower.watch.decide()
    called_back(desk, session_id, "siprec-started")
    tower.watch.decide()
    tower.follow()
    assert tower.watched(session_id).overdue is None


def test_stopped_early_is_found_while_the_call_goes_on_and_over_with_it(
    database: Database, desk: Desk
) -> None:
    tower, session_id = Tower(database, ACCOUNT), accepted(database)
    called_back(desk, session_id, "siprec-started")
    called_back(desk, session_id, "siprec-stopped")
    (question,) = tower.look(seconds(5)).questions
    tower.answer(question, Call("in-progress"))
    overdue = tower.watched(session_id).overdue
    assert overdue is not None
    assert overdue.kind is OverdueKind.STOPPED_EARLY
    assert overdue.why.endswith("it is no longer being recorded")
    assert tower.look(seconds(45)).looked_at == 0
    (question,) = tower.look(seconds(15)).questions
    tower.answer(question, Call("completed", ENDED))
    watched = tower.watched(session_id)
    assert (watched.overdue, watched.presumed_ended_at) == (None, None)


def test_a_stop_that_was_asked_for_is_not_early(database: Database, desk: Desk) -> None:
    tower, session_id = Tower(database, ACCOUNT), accepted(database)
    stop_requested(database, session_id)
    called_back(desk, session_id, "siprec-stopped")
    assert tower.look(seconds(60)).looked_at == 0


def test_nobody_is_asked_of_an_early_stop_that_is_long_past(database: Database, desk: Desk) -> None:
    tower, session_id = Tower(database, ACCOUNT), accepted(database)
    called_back(desk, session_id, "siprec-stopped")
    tower.follow()
    assert tower.next_at(session_id) is not None
    with database.begin() as db:  # the watch begins anew, an hour later
        db.exec_driver_sql("UPDATE watch SET position = 0")
        db.exec_driver_sql("UPDATE event SET numbered_at = '2026-01-01T00:00:00.000000Z'")
    tower.follow()
    assert tower.next_at(session_id) is None


def test_without_a_budget_a_verdict_says_that_nothing_is_known(database: Database) -> None:
    tower, session_id = Tower(database, ACCOUNT), accepted(database)
    tower.permits.has_budget = False
    assert not tower.look(seconds(20)).questions
    assert tower.watched(session_id).overdue is not None
    tower.permits.has_budget = True
    assert not tower.look(seconds(30)).questions
    assert len(tower.look(seconds(30)).questions) == 1


def test_blindness_is_said_and_looked_at_again(database: Database) -> None:
    tower, session_id = Tower(database), accepted(database)
    for ended_ago, passes, start in (
        (seconds(1), seconds(20), "unknown: we were away from "),
        (timedelta(minutes=10, seconds=30), timedelta(minutes=11), "we were away from "),
    ):
        with database.begin() as db:
            ended_at = processes.now_of(db) - ended_ago
            blind_periods.save(db, "one", None, Why.AWAY, ended_at, ended_at)
        assert tower.look(passes).looked_at == 1
        overdue = tower.watched(session_id).overdue
        assert overdue is not None
        assert overdue.why.startswith(start)
    assert tower.look(timedelta(minutes=1)).looked_at == 0
    assert [kind for kind, _ in tower.lines(session_id)] == ["overdue", "overdue-changed"]


def test_of_a_session_whose_call_ended_with_it_nothing_is_looked_at_again(
    database: Database, desk: Desk
) -> None:
    tower, session_id = Tower(database, ACCOUNT), accepted(database)
    called_back(desk, session_id, "siprec-stopped")
    (question,) = tower.look(seconds(5)).questions
    tower.answer(question, Call("completed", ENDED))
    assert tower.next_at(session_id) is None
    assert tower.watched(session_id).call_status == "completed"


def test_a_call_that_nobody_could_be_asked_for_in_time_is_looked_at_no_more(
    database: Database, desk: Desk
) -> None:
    tower, session_id = Tower(database, ACCOUNT), accepted(database)
    called_back(desk, session_id, "siprec-stopped")
    tower.permits.has_budget = False
    looks = 0
    for _ in range(60):  # minutes
        looks += tower.look(timedelta(minutes=1)).looked_at
    assert 1 < looks < 10
    assert tower.next_at(session_id) is None


def test_nobody_is_asked_of_an_early_stop_that_was_due_while_no_watch_was(
    database: Database, desk: Desk
) -> None:
    tower, session_id = Tower(database, ACCOUNT), accepted(database)
    called_back(desk, session_id, "siprec-stopped")
    assert tower.look(timedelta(hours=1)).questions == []
    assert tower.next_at(session_id) is None


def test_very_many_that_are_unknown_are_not_all_looked_at_again_at_once(database: Database) -> None:
    tower, ids = Tower(database), ordered(database, 25)
    answered(database, ids)
    tower.watch._blind_turns = Turns(BLIND_PAUSE, per_second=5)
    with database.begin() as db:
        moment = processes.now_of(db)
        blind_periods.save(db, "one", None, Why.AWAY, moment, moment + timedelta(minutes=1))
    assert tower.look(seconds(20)).looked_at == 25
    moments = sorted(tower.next_at(id) or ENDED for id in ids)
    apart = {round((later - one).total_seconds(), 3) for one, later in itertools.pairwise(moments)}
    assert apart == {0.2}
    assert 15 <= (moments[0] - moment).total_seconds() < 60


def test_what_an_event_says_in_words_starts_no_clock_anew(database: Database, desk: Desk) -> None:
    """The watch looks for facts in the text of an event."""
    tower, session_id = Tower(database), accepted(database)
    tower.follow()
    began = tower.next_at(session_id)
    called_back(desk, session_id, 'siprec-"state"')
    tower.follow()
    assert tower.next_at(session_id) == began


def test_nothing_is_decided_twice(database: Database) -> None:
    tower, session_id = Tower(database), accepted(database)
    assert tower.look(seconds(20)).looked_at == 1
    assert tower.look(timedelta(minutes=1)).looked_at == 1  # for hosts that were not seen when it was decided
    assert tower.look(timedelta(days=1)).looked_at == 0
    assert len(tower.lines(session_id)) == 1
