"""Full collections of garbage wait for callbacks, but not for ever."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from service.workers import garbage
from service.workers.garbage import BY_ITSELF, YOUNGER, Garbage

NOW = datetime.now(UTC)


class Knot:
    """Holds itself: only a collection frees it."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def usual_thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def old_knot() -> weakref.ref[Knot]:
    """One that has outlived the younger collections, of which there were enough for a full one."""
    gc.collect()
    found = weakref.ref(knot := Knot())
    for _ in range(YOUNGER + 1):
        gc.collect(1)
    assert knot is found()
    return found


def test_it_collects_while_no_callback_waits() -> None:
    one = Garbage(lambda: False)
    one.run_once(NOW)
    knot = old_knot()
    one.run_once(NOW)
    assert knot() is None


def test_python_leaves_it_to_it_unless_there_is_very_much() -> None:
    Garbage(lambda: True).run_once(NOW)
    assert gc.get_threshold()[2] == BY_ITSELF


def test_callbacks_put_it_off_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Garbage(lambda: True)
    one.run_once(NOW)
    knot = old_knot()
    one.run_once(NOW)
    assert knot() is not None
    monkeypatch.setattr(garbage, "LONGEST_SECONDS", 0.0)
    one.run_once(NOW)
    assert knot() is None


def test_where_little_was_made_nothing_is_looked_through() -> None:
    one = Garbage(lambda: False)
    gc.collect()
    knot = weakref.ref(Knot())
    one.run_once(NOW)
    assert knot() is not None
