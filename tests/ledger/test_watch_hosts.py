"""An absence is believed once every host has said since the deadline that nothing waits on its disk."""

from __future__ import annotations

from datetime import timedelta

import pytest

from service.domain.overdue import Call
from service.ledger import look
from service.store.engine import Database
from tests.ledger.test_watch import ACCOUNT, accepted, seconds
from tests.ledger.tower import Tower
from tests.store.test_blindness import beat

START = timedelta(seconds=20)


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the test takes, it is early still."""
    monkeypatch.setattr(look, "HEARD_WITHIN", timedelta(minutes=10))


@pytest.mark.usefixtures("unhurried")
def test_what_a_host_has_not_said_since_the_deadline_is_waited_for(database: Database) -> None:
    tower, session_id = Tower(database), accepted(database)
    beat(database, "b")
    assert tower.look(START).looked_at == 1
    assert tower.watched(session_id).overdue is None
    beat(database, "b", ago=-2)  # the next one, a moment later
    tower.look(seconds(1))
    overdue = tower.watched(session_id).overdue
    assert overdue is not None
    assert not overdue.is_unknown
    assert [kind for kind, _ in tower.lines(session_id)] == ["overdue"]


def test_what_it_says_instead_makes_it_unknown(database: Database) -> None:
    tower, session_id = Tower(database), accepted(database)
    beat(database, "b")
    tower.look(START)
    beat(database, "b", entries=1, ago=-2)
    tower.look(seconds(1))
    overdue = tower.watched(session_id).overdue
    assert overdue is not None
    assert overdue.why.startswith("unknown: callbacks may still wait on host b; ")


def test_a_host_that_says_nothing_is_waited_for_a_moment_only_and_heard_when_it_does(
    database: Database,
) -> None:
    tower, session_id = Tower(database), accepted(database)
    beat(database, "a", ago=-10)
    beat(database, "b", ago=4)
    tower.look(START + seconds(4))
    overdue = tower.watched(session_id).overdue
    assert overdue is not None
    assert overdue.why.startswith("unknown: callbacks may still wait on host b; ")
    beat(database, "b")
    tower.look(seconds(4))
    overdue = tower.watched(session_id).overdue
    assert overdue is not None
    assert not overdue.is_unknown
    assert [kind for kind, _ in tower.lines(session_id)] == ["overdue", "overdue-changed"]


@pytest.mark.usefixtures("unhurried")
def test_an_answer_of_telnyx_waits_for_the_hosts_too(database: Database) -> None:
    tower, session_id = Tower(database, ACCOUNT), accepted(database)
    beat(database, "b")
    (question,) = tower.look(START).questions
    early = tower.answer(question, Call("in-progress")).early
    assert [answer.question for answer in early] == [question]
    assert tower.watched(session_id).overdue is None
    beat(database, "b", ago=-2)
    assert tower.answer(question, Call("in-progress")).early == []
    overdue = tower.watched(session_id).overdue
    assert overdue is not None
    assert overdue.why.endswith("its call goes on: it is probably not being recorded")


def test_a_host_that_was_not_seen_for_long_is_not_waited_for(database: Database) -> None:
    tower, session_id = Tower(database), accepted(database)
    beat(database, "b", ago=20)
    tower.look(START)
    overdue = tower.watched(session_id).overdue
    assert overdue is not None
    assert overdue.is_unknown
