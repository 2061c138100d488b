"""How much the watch does at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from service.ledger.watch_pace import MOST, SQLITE_FEWEST, Portion, Turns

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def test_a_transaction_that_is_quick_makes_the_next_one_larger_up_to_a_limit() -> None:
    portion, sizes = Portion(is_sqlite=True), []
    for _ in range(30):
        sizes.append(portion.size)
        portion.took(portion.size, 0.001)
    assert sizes[0] == SQLITE_FEWEST
    assert sizes == sorted(sizes)
    assert sizes[-1] == MOST


def test_one_that_is_slow_makes_the_next_one_smaller_down_to_a_limit() -> None:
    portion = Portion(is_sqlite=True)
    for _ in range(30):
        portion.took(portion.size, 0.001)
    portion.took(portion.size, 0.021)
    assert portion.size <= MOST / 2
    for _ in range(30):
        portion.took(portion.size, 10)
    assert portion.size == SQLITE_FEWEST


def test_a_transaction_that_had_little_to_do_says_nothing_of_larger_ones() -> None:
    portion = Portion(is_sqlite=True)
    for _ in range(30):
        portion.took(1, 0.0001)
    assert portion.size == SQLITE_FEWEST


def test_turns_come_after_a_pause_and_not_too_many_at_once() -> None:
    turns = Turns(seconds(15), per_second=10)
    taken = [turns.take(NOW) for _ in range(3)]
    assert taken == [NOW + seconds(15), NOW + seconds(15.1), NOW + seconds(15.2)]
    assert turns.take(NOW + seconds(60)) == NOW + seconds(75)
