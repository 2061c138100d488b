"""Where the next page begins: for the same list only, and for later releases too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.web.cursor import Cursors, InvalidCursor
from service.web.requests import SessionQuery

CURSORS = Cursors(["a secret that is long enough for a test"])
PLACE = ("2026-03-01T12:00:00+00:00", "018f0000-0000-7000-8000-000000000000")


class LaterQuery(SessionQuery):
    """As a release with one more filter would have it."""

    connector_host: str | None = None


def test_a_release_that_adds_a_filter_reads_the_cursors_in_use() -> None:
    asked = {"state": ("started",), "label": ("team:fraud",), "requested_after": "2026-01-01T00:00:00Z"}
    cursor = CURSORS.after(PLACE, "sessions", SessionQuery.model_validate(asked).filters())
    assert CURSORS.read(cursor, "sessions", LaterQuery.model_validate(asked).filters()) == PLACE
    narrowed = LaterQuery.model_validate({**asked, "connector_host": "x"}).filters()
    with pytest.raises(InvalidCursor):
        CURSORS.read(cursor, "sessions", narrowed)


def test_a_filter_counts_by_its_name_and_value() -> None:
    cursor = CURSORS.after(PLACE, "sessions", {"reference": "a", "state": "started"})
    assert CURSORS.read(cursor, "sessions", {"state": "started", "reference": "a"}) == PLACE
    for other in ({}, {"reference": "a"}, {"reference": "started", "state": "a"}, {"name": "a"}):
        with pytest.raises(InvalidCursor):
            CURSORS.read(cursor, "sessions", other)
    with pytest.raises(InvalidCursor):
        CURSORS.read(cursor, "callbacks", {"reference": "a", "state": "started"})


def test_a_cursor_of_one_state_is_as_it_was_when_there_could_be_no_more() -> None:
    of_states = [SessionQuery.model_validate({"state": states}).filters() for states in (("failed",), ())]
    assert of_states == [{"state": "failed"}, {}]
    ways = [("started", "failed"), ("failed", "started", "failed")]
    one, other = (SessionQuery.model_validate({"state": way}).filters() for way in ways)
    assert one == other != of_states[0]


def test_how_a_filter_is_written_does_not_matter() -> None:
    ways = ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"]
    one, other = (SessionQuery.model_validate({"requested_after": way}).filters() for way in ways)
    assert one == other


@given(st.text())
def test_any_text_may_be_given_for_a_cursor(text: str) -> None:
    with pytest.raises(InvalidCursor):
        CURSORS.read(text, "sessions", {})
