"""The feed: every event once, in an order that never changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete, update

from service.domain.access import Access, Scope
from service.domain.callback import Callback, Delivery
from service.domain.ids import new_id
from service.ledger.numbering import number
from service.sandbox import Answer
from service.store import feed as stored
from service.store import histories
from service.store.tables import event
from service.web.cloud_events import EventPage
from tests.web.indoors import Caller, Indoors

Event = Mapping[str, Any]


def page(indoors: Indoors, client: Caller | None = None, **query: object) -> dict[str, Any]:
    number(indoors.context.database)
    answer = (client or indoors.client).get("/v1/events", query_string=query)
    assert answer.status_code == 200, answer.text
    EventPage.model_validate_json(answer.text)  # which only documents it
    return dict(answer.json)


def followed(indoors: Indoors, client: Caller | None = None, **query: Any) -> Iterator[Event]:
    """All pages, to the end."""
    after = "start"
    while True:
        found = page(indoors, client, **{"after": after, "limit": 2, **query})
        yield from found["events"]
        if found["next"] == after:
            return
        after = found["next"]


def positions(events: Iterator[Event]) -> list[int]:
    return [one["data"]["position"] for one in events]


def test_an_empty_ledger_is_followed_from_its_start(indoors: Indoors) -> None:
    for after in ("start", "now", "2026-01-01T00:00:00Z"):
        assert page(indoors, after=after) == {"events": [], "next": "start"}


def test_each_event_is_a_cloud_event_with_the_session_as_it_stood_then(indoors: Indoors) -> None:
    session_id = indoors.started(connector_name="recorder", reference="claim-77", labels={"team": "fraud"})
    indoors.tell("siprec-started", Timestamp=None)
    indoors.client.post(f"/v1/sessions/{session_id}/stop")
    indoors.tell("siprec-stopped")
    events = list(followed(indoors))
    assert positions(iter(events)) == [1, 2, 3, 4, 5]
    assert len({one["id"] for one in events}) == 5
    states = [one["data"]["session"]["state"] for one in events]
    assert states == ["requested", "accepted", "started", "started", "stopped"]
    assert [one["data"]["actor"] for one in events] == ["app-1", "telnyx", "telnyx", "app-1", "telnyx"]
    for one in events:
        assert one["specversion"] == "1.0"
        assert one["source"] == "https://ledger.example/v1/events"
        assert one["subject"] == one["data"]["session"]["id"] == session_id
        assert one["data"]["session"]["labels"] == {"team": "fraud"}
    assert events[0]["type"] == "siprec.session.created"
    assert {one["type"] for one in events[1:]} == {"siprec.session.changed"}
    callback = indoors.callbacks(session_id)[1]
    assert events[4]["data"]["callback_id"] == callback["id"]
    last, now = events[4]["data"]["session"], indoors.session(session_id)
    assert last == {name: now[name] for name in last}
    assert last["stop_requested_by"] == "app-1"
    assert events[1]["data"]["session"]["stop_requested_by"] is None


def test_a_refused_start_shows_why(indoors: Indoors) -> None:
    indoors.answers(Answer("error", status=422))
    indoors.start(key="once")
    refused = list(followed(indoors))[-1]["data"]["session"]
    assert refused["state"] == "refused"
    assert refused["error"]["kind"] == "rejected"


@pytest.mark.parametrize(
    "after",
    ["", "0", "1", "1-", "1-xyz", "-1-00000000", "0-00000000", "01-00000000", "yesterday", "12:00"],
)
def test_what_is_no_place_is_refused(indoors: Indoors, after: str) -> None:
    answer = indoors.client.get("/v1/events", query_string={"after": after})
    assert answer.status_code == 422
    assert answer.json["errors"][0]["pointer"] == "/after"


def test_a_time_begins_with_what_was_numbered_from_then_on(indoors: Indoors) -> None:
    for number_ in range(5):
        indoors.started(f"v3:call-{number_}")
    moments = [one["data"]["numbered_at"] for one in followed(indoors)]
    for moment in {*moments, "2020-01-01T00:00:00.000000Z", "2120-01-01T00:00:00.000000Z"}:
        expected = [at for at, other in enumerate(moments, 1) if other >= moment]
        events = page(indoors, after=moment, limit=1000)["events"]
        assert positions(iter(events)) == expected


def test_now_shows_nothing_until_something_happens(indoors: Indoors) -> None:
    indoors.started()
    now = page(indoors, after="now")
    assert now["events"] == []
    indoors.started("v3:call-2")
    assert positions(iter(page(indoors, after=now["next"])["events"])) == [3, 4]


def test_filters_let_through_what_fits_and_tell_how_far_was_looked(
    indoors: Indoors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MOST_SCANNED", 3)
    ids = [
        indoors.started(f"v3:call-{n}", connector_name=f"c-{n % 2}", account_sid=f"account-{n % 3}")
        for n in range(6)
    ]
    everything = list(followed(indoors))
    assert len(everything) == 12
    for query, fits in {
        ("connector_name", "c-1"): lambda one: one["data"]["session"]["connector_name"] == "c-1",
        ("account_sid", "account-2"): lambda one: one["data"]["session"]["account_sid"] == "account-2",
        ("session_id", ids[3]): lambda one: one["subject"] == ids[3],
        ("type", "siprec.session.created"): lambda one: one["type"] == "siprec.session.created",
        ("connector_name", "nobody's"): lambda _: False,
    }.items():
        name, wanted = query
        assert list(followed(indoors, None, **{name: wanted})) == [one for one in everything if fits(one)]
    empty = page(indoors, connector_name="nobody's")
    assert empty["events"] == []
    assert empty["next"].startswith("3-")


def test_several_types_may_be_asked_for(indoors: Indoors) -> None:
    indoors.started()
    types = ["siprec.session.created", "siprec.session.changed"]
    assert positions(followed(indoors, type=types)) == [1, 2]
    assert positions(followed(indoors, type="siprec.session.merged")) == []
    assert indoors.client.get("/v1/events?type=siprec.session.paused").status_code == 422


def test_a_key_follows_only_its_accounts(indoors: Indoors) -> None:
    for n in range(6):
        indoors.started(f"v3:call-{n}", account_sid=f"account-{n % 3}")
    everything = list(followed(indoors))
    limited = indoors.limited(Scope.READ, accounts=["account-0", "account-2"])
    seen = [one for one in everything if one["data"]["session"]["account_sid"] != "account-1"]
    assert list(followed(indoors, limited)) == seen
    assert list(followed(indoors, limited, account_sid="account-1")) == []
    foreign = next(one["subject"] for one in everything if one not in seen)
    assert list(followed(indoors, limited, session_id=foreign)) == []


def test_the_survivor_is_followed_with_what_was_merged_into_it(indoors: Indoors) -> None:
    indoors.answers()
    session_id = indoors.started()
    body = indoors.sandbox.compose(indoors.sid(), "siprec-started", None, None, SiprecSid="another")
    indoors.stranger.post(
        "/callbacks/siprec",
        data=body,
        headers=indoors.sandbox.sign(body),
        content_type="application/x-www-form-urlencoded",
    )
    adopted_id = next(one["subject"] for one in followed(indoors) if one["subject"] != session_id)
    indoors.tell("siprec-started", SiprecSid="another")
    lines = list(followed(indoors, session_id=session_id))
    assert [one["subject"] for one in lines if one["type"] == "siprec.session.merged"] == [
        adopted_id,
        session_id,
    ]
    assert {one["subject"] for one in lines} == {session_id, adopted_id}
    assert {one["subject"] for one in followed(indoors, session_id=adopted_id)} == {adopted_id}
    merged = next(one for one in lines if one["data"]["changes"].get("merged_into"))
    assert merged["data"]["session"]["merged_into"] == session_id


def test_a_ledger_that_was_put_back_tells_its_reader(indoors: Indoors) -> None:
    indoors.started("v3:call-1")
    indoors.started("v3:call-2")
    reached = page(indoors)["next"]
    earlier = page(indoors, limit=2)["next"]
    with indoors.context.database.begin() as db:
        db.execute(delete(event).where(event.c.position > 2))
    answer = indoors.client.get("/v1/events", query_string={"after": reached})
    assert answer.status_code == 409
    assert answer.json["type"] == "urn:siprec-ledger:problem:ledger-restored"
    assert earlier in answer.json["detail"]
    for call in ("v3:call-3", "v3:call-4"):  # it has grown past the reader's place again
        indoors.started(call)
    number(indoors.context.database)
    assert indoors.client.get("/v1/events", query_string={"after": reached}).status_code == 409
    assert positions(iter(page(indoors, after=earlier)["events"])) == [3, 4, 5, 6]


def test_an_event_without_a_position_is_not_shown_nor_what_it_changed(indoors: Indoors) -> None:
    indoors.started()
    indoors.tell("siprec-started")
    assert positions(followed(indoors)) == [1, 2, 3]
    with indoors.context.database.begin() as db:
        db.execute(update(event).where(event.c.position == 3).values(position=None, numbered_at=None))
    answer = indoors.client.get("/v1/events").json
    assert positions(iter(answer["events"])) == [1, 2]
    assert answer["events"][-1]["data"]["session"]["state"] == "accepted"


BATCH = "application/cloudevents-batch+json"


@pytest.mark.parametrize(
    ("accept", "is_batch"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("application/*", False),
        ("text/html", False),  # it gets JSON all the same
        (BATCH, True),
        (f"{BATCH}, */*;q=0.1", True),
        (f"application/json, {BATCH};q=0.5", False),
    ],
)
def test_who_wants_the_batch_format_gets_the_events_alone(
    indoors: Indoors, accept: str | None, is_batch: bool
) -> None:
    indoors.started()
    expected = page(indoors, limit=1)
    headers = {} if accept is None else {"Accept": accept}
    answer = indoors.client.get("/v1/events?limit=1", headers=headers)
    assert answer.json == (expected["events"] if is_batch else expected)
    assert answer.headers["Content-Type"] == (BATCH if is_batch else "application/json")
    assert answer.headers["Ledger-Next"] == expected["next"]
    assert answer.headers["Vary"] == "Accept"


def test_times_are_those_of_the_ledger(indoors: Indoors) -> None:
    before = datetime.now(UTC)
    indoors.started()
    for one in followed(indoors):
        for name in ("written_at", "numbered_at"):
            assert abs((datetime.fromisoformat(one["data"][name]) - before).total_seconds()) < 60


def test_a_session_of_very_many_events_is_read_as_quickly_as_another(indoors: Indoors) -> None:
    """Of each fact the database gives the last change alone."""
    indoors.answers(Answer.error(429, retry_after_seconds=7))  # so it may be asked for again and again
    for _ in range(30):
        indoors.start(key="once")
    indoors.answers()
    indoors.start(key="once")
    everything = list(followed(indoors))
    assert len(everything) > 30
    (session_id,) = {one["subject"] for one in everything}
    with indoors.context.database.read() as db:
        latest = histories.latest_changes(db, [session_id], len(everything))[session_id]
        later = histories.changes(db, [session_id], 10, 12)
    assert latest["attempts"] == [30, 31]
    assert latest["state"] == ["refused", "accepted"]
    assert latest.keys() <= everything[-1]["data"]["session"].keys()
    assert [position for position, _, _ in later] == [11, 12]


def test_what_a_filter_hides_counts_all_the_same(indoors: Indoors) -> None:
    """Between two events that are shown, and before them."""
    for n in range(3):
        indoors.answers(Answer.error(429, retry_after_seconds=7))
        for _ in range(3):
            indoors.start(f"v3:call-{n}", key=f"{n}")
        indoors.answers()
        indoors.start(f"v3:call-{n}", key=f"{n}")
        indoors.tell("siprec-started", f"v3:call-{n}")
    everything = list(followed(indoors, limit=1000))
    now = {one["id"]: one for one in indoors.client.get("/v1/sessions").json["sessions"]}
    last = {one["subject"]: one["data"]["session"] for one in everything}
    assert {id: {**now[id], **then} for id, then in last.items()} == now
    for at in range(len(everything)):
        for positions in {(at + 1,), (1, at + 1)[-at - 1 :]}:
            with indoors.context.database.read() as db:
                shown = stored.lines(db, positions)[-1]
            expected = everything[at]["data"]["session"]
            assert shown.facts == {fact: expected[fact] for fact in shown.facts}, positions


def test_who_has_read_further_than_others_were_told_is_not_sent_back(indoors: Indoors) -> None:
    indoors.started()
    indoors.tell("siprec-started")
    number(indoors.context.database)
    with indoors.context.database.read() as db:
        found = stored.places(db, stored.Wanted(), Access(), 2, 10, most=1)
    assert (found.places, found.until.position, found.is_end) == ([], 2, True)


def test_a_session_that_is_merged_in_the_batch_that_adopts_it_has_all_its_events(indoors: Indoors) -> None:
    session_id = indoors.started()
    services = indoors.context.services
    token = indoors.callback_path().rsplit("/", 1)[1]

    def came(token: str | None, **fields: str) -> Callback:
        body = indoors.sandbox.compose(
            indoors.sid(), "siprec-started", None, None, SiprecSid="another", **fields
        )
        headers = indoors.sandbox.sign(body)
        return services.reader.read(Delivery(new_id(), services.clock(), "POST", token, b"", headers, body))

    services.ingest.write([came(None, Number="1"), came(token, Number="2")])
    lines = list(followed(indoors))
    adopted = [one for one in lines if one["subject"] != session_id]
    assert [one["type"] for one in adopted] == ["siprec.session.created", "siprec.session.merged"]
    assert [one["data"]["session"]["state"] for one in adopted] == ["started", "started"]
