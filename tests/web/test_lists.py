"""Sessions are found again: by filters, the newest first, page by page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.ids import new_id
from service.domain.session import Origin, Session
from service.domain.start import Order
from service.sandbox import Answer
from service.sandbox import Session as TelnyxSession
from service.store import sessions
from service.store.engine import Database
from service.store.sessions import IdempotencyKey
from tests.web.indoors import Indoors

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def found(indoors: Indoors, **query: Any) -> list[str]:
    """The call_sids of the first page."""
    answer = indoors.client.get("/v1/sessions", query_string=query)
    assert answer.status_code == 200, answer.text
    return [one["call_sid"] for one in answer.json["sessions"]]


@pytest.fixture
def four(indoors: Indoors) -> Indoors:
    """a, b, c and d, in this order."""
    indoors.started("a", connector_name="one", reference="r 1", labels={"team": "fraud", "tier": "1"})
    indoors.started("b", connector_name="two", reference="r 1", labels={"team": "fraud", "tier": "2"})
    indoors.started("c", connector_name="two", account_sid="account-2", labels={"team": "sales"})
    indoors.answers(Answer.error(404))
    indoors.start("d", connector_name="one", reference="R 1")
    return indoors


FILTERS: list[tuple[dict[str, Any], str]] = [
    ({}, "dcba"),
    ({"state": "accepted"}, "cba"),
    ({"state": "refused"}, "d"),
    ({"state": "failed"}, ""),
    ({"state": ["failed", "refused"]}, "d"),
    ({"state": ["refused", "accepted"]}, "dcba"),
    ({"state": ["refused", "accepted"], "limit": "2"}, "dc"),
    ({"state": ["accepted", "accepted"]}, "cba"),
    ({"state": ["accepted", "refused"], "connector_name": "one"}, "da"),
    ({"state": ["accepted", "stopped"], "label": "team:fraud"}, "ba"),
    ({"state": ["requested", "unanswered", "stopped", "failed"]}, ""),
    ({"call_sid": "b"}, "b"),
    ({"call_sid": "B"}, ""),
    ({"account_sid": "account-2"}, "c"),
    ({"connector_name": "one"}, "da"),
    ({"reference": "r 1"}, "ba"),
    ({"reference": "r%"}, ""),
    ({"reference": "r _"}, ""),
    ({"label": "team:fraud"}, "ba"),
    ({"label": "team:frau"}, ""),
    ({"label": "Team:fraud"}, ""),
    ({"label": "tier:1"}, "a"),
    ({"label": ["team:fraud", "tier:2"]}, "b"),
    ({"label": ["team:fraud", "team:sales"]}, ""),
    ({"connector_name": "two", "label": "team:sales"}, "c"),
    ({"connector_name": "one", "state": "accepted"}, "a"),
    ({"requested_after": "2020-01-01T00:00:00Z"}, "dcba"),
    ({"requested_before": "2020-01-01T00:00:00Z"}, ""),
    ({"limit": "2"}, "dc"),
    ({"limit": "250"}, "dcba"),
    (
        {
            "state": "accepted",
            "call_sid": "b",
            "account_sid": "account-1",
            "connector_name": "two",
            "reference": "r 1",
            "label": ["tier:2", "team:fraud"],
            "requested_after": "2020-01-01T00:00:00Z",
            "requested_before": "2999-01-01T00:00:00+01:00",
            "limit": "1",
        },
        "b",
    ),
]


def test_each_filter_narrows_alone_and_together(four: Indoors, subtests: pytest.Subtests) -> None:
    for query, wanted in FILTERS:
        with subtests.test(str(query)):
            assert "".join(found(four, **query)) == wanted


def test_the_bounds_of_time_are_exclusive_in_any_zone(four: Indoors) -> None:
    shown = four.client.get("/v1/sessions?call_sid=b").json["sessions"][0]["requested_at"]
    assert found(four, requested_after=shown) == ["d", "c"]
    assert found(four, requested_before=shown) == ["a"]
    moment = datetime.fromisoformat(shown)
    elsewhere = moment.astimezone(datetime.strptime("+0530", "%z").tzinfo).isoformat()
    assert found(four, requested_after=elsewhere) == ["d", "c"]
    just_before = (moment - timedelta(microseconds=1)).isoformat()
    assert found(four, requested_after=just_before, requested_before=shown) == []
    assert found(four, requested_after=just_before) == ["d", "c", "b"]


TRICKY = [
    "'",
    '"',
    "''; --",
    "\\",
    '{"a":1}',
    "%",
    "_",
    "a:b:c",
    ":",
    " ",
    "&=?",
    "é",
    "e\u0301",
    "\N{PILE OF POO}",
    "null",
    "true",
    "1",
    "$.a",
    "x" * 255,
]
TRICKY_KEYS = ["a.b", "a-b", "_", "1", "A", "a", "0.5", "team.name.x", "k" * 64]


def test_labels_of_any_text_are_found_and_no_others(indoors: Indoors) -> None:
    for n, value in enumerate(TRICKY):
        indoors.started(f"value-{n}", labels={"team": value})
    for n, key in enumerate(TRICKY_KEYS):
        indoors.started(f"key-{n}", labels={key: "x"})
    for n, value in enumerate(TRICKY):
        assert found(indoors, label=f"team:{value}") == [f"value-{n}"], value
    for n, key in enumerate(TRICKY_KEYS):
        assert found(indoors, label=f"{key}:x") == [f"key-{n}"], key


def test_a_reference_of_any_text_is_found(indoors: Indoors) -> None:
    for n, value in enumerate(TRICKY):
        indoors.started(f"call-{n}", reference=value)
    for n, value in enumerate(TRICKY):
        assert found(indoors, reference=value) == [f"call-{n}"], value


def pages(indoors: Indoors, limit: int, between: Callable[[], None], **query: Any) -> list[str]:
    """The ids on all pages; `between` is called after each."""
    ids: list[str] = []
    more: dict[str, str] = {}
    while True:
        answer = indoors.client.get("/v1/sessions", query_string={**query, "limit": limit, **more})
        assert answer.status_code == 200, answer.text
        page = answer.json
        assert len(page["sessions"]) <= limit
        ids += [one["id"] for one in page["sessions"]]
        if page["next_cursor"] is None:
            return ids
        assert len(page["sessions"]) == limit
        more = {"cursor": page["next_cursor"]}
        between()


def write(database: Database, times: list[datetime], reference: str) -> list[tuple[datetime, str]]:
    """Sessions that were requested then. Returns (time, id) of each."""
    written = []
    with database.begin() as db:
        for moment in times:
            new = Session(
                new_id(), Origin.API, Order("a", "c", reference=reference), moment, updated_at=moment
            )
            assert sessions.insert(db, new, IdempotencyKey(None))  # type: ignore[arg-type]
            written.append((moment, new.id))
    return written


def test_pages_skip_and_repeat_nothing_while_sessions_come(indoors: Indoors) -> None:
    count = 0

    # Few different times, so that many sessions share one.
    @given(
        there=st.lists(st.integers(0, 5), max_size=12),
        coming=st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=12),
        limit=st.integers(1, 7),
    )
    @settings(max_examples=25, deadline=None, database=None)
    def check(there: list[int], coming: list[list[int]], limit: int) -> None:
        nonlocal count
        count += 1
        reference = f"round {count}"
        database = indoors.context.database
        old = write(database, [NOON + timedelta(seconds=n) for n in there], reference)
        waiting = iter(coming)

        def come() -> None:
            newer = [NOON + timedelta(seconds=n) for n in next(waiting, [])]
            write(database, newer, reference)

        shown = pages(indoors, limit, come, reference=reference)
        assert len(shown) == len(set(shown))
        were_there = {id for _, id in old}
        assert [id for id in shown if id in were_there] == [id for _, id in sorted(old, reverse=True)]

    check()


def all_of(indoors: Indoors, path: str, what: str, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": limit}
    while True:
        answer = indoors.client.get(path, query_string=query)
        assert answer.status_code == 200, answer.text
        found += answer.json[what]
        if answer.json["next_cursor"] is None:
            return found
        assert len(answer.json[what]) == limit
        query["cursor"] = answer.json["next_cursor"]


def test_the_callbacks_of_a_session_have_pages(indoors: Indoors) -> None:
    session_id = indoors.started()
    for number in range(7):
        indoors.tell("siprec-started", Number=str(number))
    path = f"/v1/sessions/{session_id}/callbacks"
    for limit in (1, 3, 7, 8):
        shown = all_of(indoors, path, "callbacks", limit)
        assert [dict(map(tuple, one["fields"]))["Number"] for one in shown] == list("0123456")
    for query in ("limit=251", "limit=0", "cursor=x", "order=newest"):
        assert indoors.client.get(f"{path}?{query}").status_code == 422


def test_the_timeline_has_pages_and_a_session_shows_the_first(
    indoors: Indoors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.web.sessions.LONGEST_TIMELINE", 2)
    session_id = indoors.started()
    indoors.tell("siprec-started")
    indoors.client.post(f"/v1/sessions/{session_id}/stop")
    indoors.tell("siprec-stopped")
    path = f"/v1/sessions/{session_id}/timeline"
    whole = indoors.client.get(path).json
    assert [one["state"] for one in whole["timeline"]] == [
        *("requested", "accepted", "started", "started", "stopped"),
    ]
    assert whole["next_cursor"] is None
    for limit in (1, 2, 5):
        assert all_of(indoors, path, "timeline", limit) == whole["timeline"]
    shown = indoors.session(session_id)
    assert shown["timeline"] == whole["timeline"][:2]
    rest = indoors.client.get(path, query_string={"cursor": shown["timeline_next_cursor"]}).json
    assert rest["timeline"] == whole["timeline"][2:]
    other = indoors.started("v3:call-2")
    for strange in (f"/v1/sessions/{other}/timeline", f"/v1/sessions/{session_id}/callbacks"):
        answer = indoors.client.get(strange, query_string={"cursor": shown["timeline_next_cursor"]})
        assert answer.status_code == 422


def test_exactly_one_page_has_no_next(indoors: Indoors) -> None:
    write(indoors.context.database, [NOON] * 3, "r")
    for limit, is_more in ((2, True), (3, False), (4, False)):
        page = indoors.client.get(f"/v1/sessions?limit={limit}").json
        assert (page["next_cursor"] is not None) == is_more
    assert indoors.client.get("/v1/sessions?reference=none").json == {"sessions": [], "next_cursor": None}


def test_fifty_unless_asked_otherwise(indoors: Indoors) -> None:
    write(indoors.context.database, [NOON + timedelta(seconds=n) for n in range(251)], "r")
    assert len(found(indoors)) == 50
    assert len(found(indoors, limit=250)) == 250


def test_a_cursor_is_good_for_pages_of_another_length(indoors: Indoors) -> None:
    write(indoors.context.database, [NOON + timedelta(seconds=n) for n in range(5)], "r")
    first = indoors.client.get("/v1/sessions?limit=2").json
    rest = indoors.client.get("/v1/sessions", query_string={"limit": 10, "cursor": first["next_cursor"]}).json
    ids = [one["id"] for one in first["sessions"] + rest["sessions"]]
    assert len(set(ids)) == 5
    assert rest["next_cursor"] is None


def test_a_list_shows_what_a_look_shows(four: Indoors) -> None:
    for one in four.client.get("/v1/sessions").json["sessions"]:
        shown = four.session(one["id"])
        assert shown.pop("timeline")
        assert shown.pop("timeline_next_cursor") is None
        assert one == shown


def test_a_session_that_was_folded_into_another_is_not_listed_but_shown(indoors: Indoors) -> None:
    """It was adopted, because the URL that it called back to named nobody; then its sid became known."""
    indoors.answers(Answer(fields={"sid": "the-sid"}))
    body = indoors.sandbox.compose(TelnyxSession("account-1", "v3:call-1", "the-sid"), "siprec-started")
    signed = indoors.sandbox.sign(body)
    assert indoors.stranger.post("/callbacks/siprec", data=body, headers=signed).status_code == 200
    (adopted,) = indoors.client.get("/v1/sessions").json["sessions"]
    assert adopted["origin"] == "adopted"
    answer = indoors.start()
    assert (answer.status_code, answer.json["state"]) == (201, "started")
    listed = indoors.client.get("/v1/sessions").json["sessions"]
    assert [one["id"] for one in listed] == [answer.json["id"]]
    folded = indoors.session(adopted["id"])
    assert folded["merged_into"] == answer.json["id"]
    stop = indoors.client.post(f"/v1/sessions/{adopted['id']}/stop")
    assert (stop.status_code, answer.json["id"] in stop.json["detail"]) == (409, True)
    assert stop.json["title"] == "Session merged into another"
