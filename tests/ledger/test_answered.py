"""What was answered 200 is counted in memory, until the database has it."""

from __future__ import annotations

from service.domain.ids import new_id
from service.ledger import answered
from service.ledger.answered import Answered


def made_in(period: int) -> str:
    """An id of a delivery that was received then."""
    return f"{period:08x}{new_id()[8:]}"


def counted(*periods: int) -> Answered:
    found = Answered()
    for period in periods:
        found.count(made_in(period))
    return found


def test_each_period_has_its_count() -> None:
    assert counted(7, 7, 8).unsaved() == {"00000007": 2, "00000008": 1}


def test_only_what_changed_is_saved_again() -> None:
    found = counted(7, 7, 8)
    found.saved(found.unsaved())
    assert found.unsaved() == {}
    found.count(made_in(8))
    assert found.unsaved() == {"00000008": 2}


def test_with_a_new_period_the_last_hour_is_saved_again() -> None:
    """For the database may have lost what it had taken: then it shows."""
    found = counted(7, 8)
    found.saved(found.unsaved())
    found.count(made_in(9))
    assert found.unsaved() == {"00000007": 1, "00000008": 1, "00000009": 1}
    for period in range(10, 10 + answered.HELD):
        found.count(made_in(period))
        found.saved(found.unsaved())
    found.count(made_in(1000))
    assert len(found.unsaved()) == answered.HELD + 1
    assert "00000009" not in found.unsaved()


def test_what_is_counted_meanwhile_is_saved_the_next_time() -> None:
    found = counted(7)
    unsaved = found.unsaved()
    found.count(made_in(7))
    found.saved(unsaved)
    assert found.unsaved() == {"00000007": 2}


def test_of_an_outage_of_days_the_newest_counts_are_kept() -> None:
    found = counted(*range(answered.MOST_UNSAVED + 5))
    found.saved({})
    assert len(found.unsaved()) == answered.MOST_UNSAVED
    assert "00000000" not in found.unsaved()
