"""What the drill sends."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import count
from random import Random

from tests.drill.callback import STARTED, Session
from tests.drill.plan import Delivery, Planner

SESSIONS = [
    Session(
        f"id-{n}", "account-1", f"v3:drill-{n}", f"sid-{n}", "http://127.0.0.1/t", "GET" if n % 4 else "POST"
    )
    for n in range(30)
]


def plan(seed: int, *, is_skewed: bool = False) -> list[Delivery]:
    planner = Planner(Random(seed), datetime(2026, 5, 1, tzinfo=UTC), count(1))
    return planner.deliveries(SESSIONS, 3000, is_skewed=is_skewed)


def test_the_same_seed_makes_the_same_plan() -> None:
    assert plan(1) == plan(1)
    assert plan(1) != plan(2)


def test_no_two_callbacks_share_their_microseconds() -> None:
    callbacks = {id(one.callback): one.callback.happened_at.microsecond for one in plan(1)}
    assert max(Counter(callbacks.values()).values()) == 1


def test_there_are_repeats_forgeries_and_every_session_starts() -> None:
    deliveries = plan(1)
    repeated = Counter(id(one.callback) for one in deliveries)
    forged = [one for one in deliveries if one.forgery]
    started = {
        one.callback.session.id for one in deliveries if one.callback.event == STARTED and not one.forgery
    }
    assert len(deliveries) >= 3000
    assert max(repeated.values()) == 4
    assert 50 < len(forged) < 300
    assert all(one.callback.is_forged == (one.forgery is not None) for one in deliveries)
    assert started == {one.id for one in SESSIONS}


def test_a_clock_that_is_off_shifts_both_times() -> None:
    for one in plan(1, is_skewed=True):
        shift = (one.callback.happened_at - datetime(2026, 5, 1, tzinfo=UTC)).total_seconds()
        assert -1801 - 60 < shift - one.skew_seconds < 60
