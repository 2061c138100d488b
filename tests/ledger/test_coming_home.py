"""What was stored without a session comes home when one is adopted or learns its sid, however much waits."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from service.domain.callback import Callback
from service.domain.ids import new_id
from service.domain.progress import MOST_FOLDED
from service.store.engine import Database
from tests.ledger.arrivals import Arrivals, Said
from tests.ledger.desk import Desk

SECOND = timedelta(seconds=1)


@pytest.fixture
def arrivals(database: Database, tmp_path: Path) -> Arrivals:
    return Arrivals(database, Desk(database, tmp_path / "spool"))


def nameless(arrivals: Arrivals, number: int, received: int) -> Callback:
    """One that nobody can adopt, for it names no account; each `number` is another one."""
    return arrivals.read(Said(account_sid=None, happened=number * SECOND), received * SECOND)


def at_home(arrivals: Arrivals) -> int:
    """How many callbacks the one session has; none is left without."""
    shown = arrivals.shown()
    (session,) = shown.sessions
    assert {one["session"] is None for one in shown.callbacks} == {False}
    assert session["callbacks"] == len(shown.callbacks)
    return len(shown.callbacks)


def test_one_comes_home_that_is_written_with_the_one_that_teaches_the_sid(arrivals: Arrivals) -> None:
    ours = new_id()
    arrivals.start(ours)
    arrivals.write([nameless(arrivals, 1, 1), arrivals.read(Said("siprec-stopped"), 2 * SECOND, ours)])
    assert at_home(arrivals) == 2


def test_an_answer_brings_home_more_than_fit_into_one_batch(arrivals: Arrivals) -> None:
    ours = new_id()
    arrivals.start(ours)
    arrivals.write([nameless(arrivals, number, number) for number in range(2 * MOST_FOLDED + 1)])
    arrivals.answer(ours)
    assert at_home(arrivals) == 2 * MOST_FOLDED + 1


def test_one_that_is_there_already_becomes_a_repeat_beyond_those_that_are_folded_too(
    arrivals: Arrivals,
) -> None:
    """It is the session's last, and the last of those that come home."""
    arrivals.write([nameless(arrivals, number, number) for number in range(MOST_FOLDED + 2)])
    again = nameless(arrivals, MOST_FOLDED + 1, 2 * MOST_FOLDED)
    arrivals.write([arrivals.read(Said("siprec-stopped"), MOST_FOLDED * SECOND), again])
    assert at_home(arrivals) == MOST_FOLDED + 3
    assert sum(one["deliveries"] for one in arrivals.shown().callbacks) == MOST_FOLDED + 4


def test_a_repeat_keeps_its_bytes_when_its_callback_becomes_a_repeat(arrivals: Arrivals) -> None:
    """Where fields come in another order, it is the same callback, but not the same evidence."""
    ours, said = new_id(), Said()
    arrivals.start(ours)
    came = [
        arrivals.read(said, 1 * SECOND, ours),
        arrivals.read(said, 2 * SECOND, reverses_fields=True),
        arrivals.read(said, 3 * SECOND, reverses_fields=True),
    ]
    arrivals.write(came[1:])
    arrivals.write(came[:1])
    assert at_home(arrivals) == 1
    assert arrivals.shown().bodies == {one.delivery.id: one.delivery.body for one in came}


def test_one_without_a_session_is_believed_too_once_a_delivery_of_it_can_be(arrivals: Arrivals) -> None:
    said = Said(siprec_sid=None)
    arrivals.write([arrivals.read(said, timedelta(days=8))])
    (far,) = arrivals.shown().callbacks
    assert "set no time" in far["problem"]
    arrivals.write([arrivals.read(said, SECOND)])
    (near,) = arrivals.shown().callbacks
    assert near["time_is_plausible"]
    assert "set no time" not in near["problem"]


def test_a_callback_s_sid_that_counts_only_beside_the_answer_s_brings_home_too(arrivals: Arrivals) -> None:
    """Until Telnyx answers, the sid received first is the one that counts, and the other is a third."""
    ours = new_id()
    arrivals.start(ours)
    arrivals.write([arrivals.read(Said(), 1 * SECOND, ours)])
    arrivals.write([arrivals.read(Said("siprec-stopped", siprec_sid="sid-2"), 2 * SECOND, ours)])
    arrivals.write([arrivals.read(Said("siprec-failed", siprec_sid="sid-2"), 3 * SECOND)])
    arrivals.answer(ours)
    assert at_home(arrivals) == 3
