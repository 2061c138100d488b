"""A callback is as old as its earliest delivery, and believed by any: spooled or not, in every order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.callback import Callback
from service.domain.ids import new_id
from service.store.engine import Database
from tests.ledger.arrivals import Arrivals, Said, Shown
from tests.ledger.desk import Desk

SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)
OLDEST, LEAD = timedelta(days=7), timedelta(minutes=5)

# Around what may be believed of a Timestamp at noon, or a few seconds later.
RECEIPTS = st.sampled_from(
    [
        -timedelta(days=30),
        -LEAD - MICROSECOND,
        -LEAD,
        -SECOND,
        timedelta(0),
        2 * SECOND,
        OLDEST,
        OLDEST + MICROSECOND,
        OLDEST + 2 * SECOND,
        timedelta(days=30),
    ]
)
SAYINGS = st.builds(
    Said,
    event=st.sampled_from(["siprec-started", "siprec-started", "siprec-stopped", "siprec-failed"]),
    siprec_sid=st.sampled_from(["sid-1", "sid-1", None]),
    account_sid=st.sampled_from(["account-1", None]),
    happened=st.integers(0, 3).map(lambda seconds: seconds * SECOND),
)


@dataclass(frozen=True)
class Step:
    """Deliveries that are written at once, or spooled; or all that waits is drained (None)."""

    batch: list[Callback] | None
    is_spooled: bool = False


@pytest.fixture
def arrivals(database: Database, tmp_path: Path) -> Arrivals:
    return Arrivals(database, Desk(database, tmp_path / "spool"))


@st.composite
def deliveries(draw: st.DrawFn) -> list[tuple[Said, timedelta, bool]]:
    """(what it says, when it was received, whether it names the session of ours); few callbacks, so that
    each has several."""
    sayings = st.sampled_from(draw(st.lists(SAYINGS, min_size=1, max_size=3)))
    return draw(st.lists(st.tuples(sayings, RECEIPTS, st.booleans()), min_size=1, max_size=6))


@st.composite
def orders(draw: st.DrawFn, came: Sequence[Callback]) -> list[Step]:
    steps: list[Step] = []
    for one in draw(st.permutations(came)):
        is_spooled = draw(st.booleans())
        last = steps[-1] if steps else Step(None)
        if last.batch is not None and last.is_spooled == is_spooled and draw(st.booleans()):
            last.batch.append(one)
        else:
            steps.append(Step([one], is_spooled))
        if is_spooled and draw(st.booleans()):
            steps.append(Step(None))
    return [*steps, Step(None)]


def check_receipts(shown: Shown, came: dict[str, Callback]) -> None:
    """Of each callback against all of its deliveries that are written."""
    for callback in shown.callbacks:
        receipts = [came[id].delivery.received_at for id in callback["ids"]]
        assert callback["received_at"] == min(receipts)
        assert callback["last_received_at"] == max(receipts)
        happened_at = callback["happened_at"]
        is_near = any(at - OLDEST <= happened_at <= at + LEAD for at in receipts)
        assert callback["time_is_plausible"] == is_near
        assert ("set no time" in (callback["problem"] or "")) == (not is_near)


def check_times(shown: Shown) -> None:
    """Of each session: the earliest that any of its callbacks is believed to say."""
    ends = {"siprec-stopped", "siprec-failed"}
    for session in shown.sessions:
        name = (session["origin"], session["call_sid"], session["siprec_sid"])
        own = [one for one in shown.callbacks if one["session"] == name and one["time_is_plausible"]]
        for time, events in (("started_at", {"siprec-started"}), ("ended_at", ends)):
            assert session[time] == min(
                (one["happened_at"] for one in own if one["event"] in events), default=None
            )


def check_belief_is_not_taken_back(before: Shown, after: Shown) -> None:
    """What was believed is believed still; so a session's times are there still, and have not moved later."""
    assert believed(before) <= believed(after)
    now = {(one["origin"], one["call_sid"]): one for one in after.sessions}
    for session in before.sessions:
        later = now[session["origin"], session["call_sid"]]
        for time in ("started_at", "ended_at"):
            assert session[time] is None or later[time] <= session[time]


def believed(shown: Shown) -> set[str]:
    """The deliveries of callbacks whose Timestamp is believed."""
    return {id for one in shown.callbacks if one["time_is_plausible"] for id in one["ids"]}


def test_deliveries_add_belief_in_every_order_and_never_take_it_back(arrivals: Arrivals) -> None:
    """Each delivery is written at once or drained later. After each step, a callback's `received_at` is the
    earliest receipt of those written so far, and its Timestamp is believed if it is near any of them; in the
    end all is as if they had been written at once, in the order of their receipt."""

    @given(deliveries(), st.booleans(), st.data())
    @settings(max_examples=60, deadline=None, database=None)
    def check(said: list[tuple[Said, timedelta, bool]], is_ours: bool, data: st.DataObject) -> None:
        ours = new_id() if is_ours else None
        all_of_them = [arrivals.read(one, at, ours if has_token else None) for one, at, has_token in said]
        came = {one.delivery.id: one for one in all_of_them}
        before = start(arrivals, ours)
        for step in data.draw(orders(all_of_them)):
            if step.batch is None:
                arrivals.drain()
            else:
                (arrivals.spool if step.is_spooled else arrivals.write)(step.batch)
            shown = arrivals.shown()
            check_receipts(shown, came)
            check_times(shown)
            check_belief_is_not_taken_back(before, shown)
            before = shown
        assert before.bodies.keys() == came.keys()
        start(arrivals, ours)
        for one in sorted(all_of_them, key=lambda one: one.notice.receipt):
            arrivals.write([one])
        assert arrivals.shown() == before

    check()


def start(arrivals: Arrivals, ours: str | None) -> Shown:
    arrivals.clear()
    if ours:
        arrivals.start(ours)
        arrivals.answer(ours)
    return arrivals.shown()
