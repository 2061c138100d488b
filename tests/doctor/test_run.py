"""A check that hangs or fails is a finding, and keeps no other from being run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from service.doctor.check import Check, Finding, Status, ok, skipped, warning, wrong
from service.doctor.run import run
from service.doctor.situation import Situation
from service.store.engine import DatabaseUnavailable


def check(name: str, find: Callable[[], Finding], *needs: str, seconds: float = 30) -> Check:
    return Check(name, "something", seconds, lambda _: find(), needs)


def statuses(*checks: Check, without: tuple[str, ...] = ()) -> list[tuple[str, Status]]:
    return [(one.check.name, one.finding.status) for one in run(checks, Situation(), without)]


def fine() -> Finding:
    return ok("It is.")


def test_they_are_told_in_their_order_whichever_ends_first() -> None:
    second_ended = threading.Event()

    def first() -> Finding:
        assert second_ended.wait(30)
        return fine()

    def second() -> Finding:
        second_ended.set()
        return fine()

    assert statuses(check("a", first), check("b", second)) == [("a", Status.OK), ("b", Status.OK)]


def test_one_that_hangs_is_wrong_and_left_behind() -> None:
    ever = threading.Event()

    def hang() -> Finding:
        ever.wait()
        return fine()

    began = time.monotonic()
    found = run([check("a", hang, seconds=0.1), check("b", fine), check("c", fine, "a")], Situation())
    assert time.monotonic() - began < 30
    assert [one.finding.status for one in found] == [Status.WRONG, Status.OK, Status.SKIPPED]
    assert found[0].finding.found == "There was no result within 0 s."
    assert found[2].finding.found == "It needs a."
    ever.set()


def test_one_that_fails_says_so_and_shows_nothing_of_what_it_held() -> None:
    def fail() -> Finding:
        raise ValueError("a secret")

    def lose() -> Finding:
        raise DatabaseUnavailable("it went away")

    found = [one.finding for one in run([check("a", fail), check("b", lose)], Situation())]
    assert [one.status for one in found] == [Status.WRONG, Status.WRONG]
    assert found[0].found == "The check itself failed: ValueError."
    assert found[1].found == "The database did not say: it went away."


def test_who_needs_what_is_wrong_is_skipped_and_so_is_who_needs_that() -> None:
    made = [
        check("a", lambda: wrong("It is not.", "Mend it.")),
        check("b", fine, "a"),
        check("c", fine, "b"),
        check("d", lambda: skipped("There is none.")),
        check("e", fine, "d"),
        check("f", lambda: warning("It is slow.", "Mend it.")),
        check("g", fine, "f"),
    ]
    assert [status.value for _, status in statuses(*made)] == [
        "wrong",
        "skipped",
        "skipped",
        "skipped",
        "ok",
        "warning",
        "ok",
    ]


def test_one_that_is_left_out_is_not_run_nor_is_who_needs_it() -> None:
    def never() -> Finding:
        raise AssertionError

    found = statuses(check("a", never), check("b", never, "a"), check("c", fine), without=("a",))
    assert found == [("a", Status.SKIPPED), ("b", Status.SKIPPED), ("c", Status.OK)]
