"""Sessions in the database: claimed once, found again whole, and listed page by page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.domain.access import ALL_ACCOUNTS
from service.domain.ids import new_id
from service.domain.notice import Error, ErrorKind, Notice, NoticeKind
from service.domain.progress import changes, fold
from service.domain.session import Origin, Progress, Session
from service.domain.start import CallbackMethod, Order, SipTransport, Track
from service.domain.state import State
from service.store import events, keys, session_lists, sessions
from service.store.batch import Batch
from service.store.engine import Database
from service.store.session_lists import Filter
from service.store.sessions import IdempotencyKey

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ORDER = Order("account-1", "v3:call-1")


@pytest.fixture
def claim(database: Database) -> IdempotencyKey:
    with database.begin() as db:
        keys.create(db, "an app", NOW)
        return IdempotencyKey(keys.listed(db)[0].id)


def new(order: Order = ORDER, at: datetime = NOW, origin: Origin = Origin.API) -> Session:
    return Session(new_id(), origin, order, requested_at=at, updated_at=at)


def insert(database: Database, session: Session, claim: IdempotencyKey) -> bool:
    with database.begin() as db:
        return sessions.insert(db, session, claim)


def find(database: Database, session_id: str) -> Session | None:
    with database.read() as db:
        return sessions.find(db, session_id, ALL_ACCOUNTS)


FULL = Order(
    "account-1",
    "v3:call-1",
    connector_name="recorder",
    name="my name",
    track=Track.INBOUND,
    include_metadata_custom_headers=False,
    secure=True,
    session_timeout_secs=0,
    sip_transport=SipTransport.TLS,
    status_callback_method=CallbackMethod.GET,
    reference="claim 77",
    labels={"team": "fraud"},
)
REFUSED = Notice(NoticeKind.REFUSED, NOW, error=Error(ErrorKind.REJECTED, 422, "10032", "no ünput"))
ANSWERS = [
    None,
    Notice(NoticeKind.ACCEPTED, NOW, siprec_sid="sid-1"),
    Notice(NoticeKind.UNANSWERED, NOW, error=Error(ErrorKind.NO_ANSWER, detail="silence")),
    REFUSED,
]


@pytest.mark.parametrize("order", [ORDER, FULL], ids=["least", "all"])
def test_a_session_comes_back_whole(database: Database, claim: IdempotencyKey, order: Order) -> None:
    for answer in ANSWERS:
        first = replace(new(order), deadline_at=NOW + 60 * SECOND)
        assert insert(database, first, claim)
        failed = Notice(
            NoticeKind.FAILED,
            NOW,
            NOW - SECOND,
            time_is_plausible=True,
            digest=b"digest",
            siprec_sid="sid-2",
            error=Error(ErrorKind.SIPREC_FAILED, detail="no-answer"),
        )
        wish = Notice(NoticeKind.STOP_REQUESTED, NOW)
        for heard in ([], [wish], [failed, wish]):
            progress = fold(order, [*heard, *([answer] if answer else [])])
            kept = replace(first, progress=progress, answer=answer, attempts=2, updated_at=NOW + SECOND)
            with database.begin() as db:
                (locked,) = sessions.lock(db, [kept.id])
                batch = Batch(db)
                changed = replace(locked, progress=progress, answer=answer, attempts=2)
                sessions.save(batch, [changed], NOW + SECOND)
                batch.write()
            assert find(database, kept.id) == replace(kept, requested_by="an app")


def test_an_idempotency_key_is_taken_once_and_tells_whose_it_is(
    database: Database, claim: IdempotencyKey
) -> None:
    keyed = replace(claim, key="once", request_digest=b"\1\2")
    first, second = new(), new()
    assert insert(database, first, keyed)
    assert not insert(database, second, keyed)
    assert insert(database, new(), claim)  # none taken
    assert insert(database, new(), claim)
    with database.begin() as db:
        found = sessions.with_key(db, keyed)
        assert sessions.with_key(db, replace(keyed, key="never")) is None
        keys.create(db, "another app", NOW)
        other = next(key.id for key in keys.listed(db) if key.name == "another app")
        assert sessions.insert(db, second, replace(keyed, api_key_id=other))
    assert found
    assert (found[0].id, found[1]) == (first.id, b"\1\2")


def test_a_recording_is_adopted_once(database: Database) -> None:
    adopted = replace(new(origin=Origin.ADOPTED), progress=Progress(callback_siprec_sid="sid-1"))
    again = replace(new(origin=Origin.ADOPTED), progress=Progress(callback_siprec_sid="sid-1"))
    other = replace(new(origin=Origin.ADOPTED), progress=Progress(callback_siprec_sid="sid-2"))
    with database.begin() as db:
        assert sessions.adopt(db, adopted) == adopted.id
        assert sessions.adopt(db, again) == adopted.id
        assert sessions.adopt(db, other) == other.id
    assert find(database, again.id) is None


def test_only_sessions_that_are_there_can_be_locked(database: Database, claim: IdempotencyKey) -> None:
    one = new()
    insert(database, one, claim)
    with database.begin() as db:
        assert [locked.id for locked in sessions.lock(db, [one.id, "nobody", new_id()])] == [one.id]
        assert list(sessions.lock(db, [])) == []
        assert sessions.existing(db, [one.id, "nobody"]) == {one.id}
        assert sessions.existing(db, []) == set()


def test_pages_follow_one_another_without_gap_or_repetition_though_times_are_equal(
    database: Database, claim: IdempotencyKey
) -> None:
    made = [new(at=NOW + (n // 4) * SECOND) for n in range(11)]
    with database.begin() as db:
        for one in made:
            sessions.insert(db, one, claim)
    seen: list[str] = []
    before = None
    while True:
        with database.read() as db:
            page = session_lists.page(db, Filter(), ALL_ACCOUNTS, before, 3)
        if not page:
            break
        seen += [one.id for one in page]
        before = (page[-1].requested_at, page[-1].id)
        insert(database, new(at=NOW + 99 * SECOND), claim)  # a newer one changes nothing
    assert seen == [one.id for one in sorted(made, key=lambda one: (one.requested_at, one.id), reverse=True)]


def test_a_list_is_narrowed_by_all_that_is_set(database: Database, claim: IdempotencyKey) -> None:
    wanted = new(FULL)
    with database.begin() as db:
        for one in (wanted, new(), new(Order("account-2", "v3:call-2")), new(FULL, at=NOW + 9 * SECOND)):
            sessions.insert(db, one, claim)
    narrow = Filter(
        states=frozenset({State.REQUESTED}),
        call_sid="v3:call-1",
        account_sid="account-1",
        connector_name="recorder",
        reference="claim 77",
        labels=(("team", "fraud"),),
        requested_after=NOW - SECOND,
        requested_before=NOW + SECOND,
    )
    with database.read() as db:
        assert [one.id for one in session_lists.page(db, narrow, ALL_ACCOUNTS, None, 9)] == [wanted.id]
        others: dict[str, Any] = {
            "states": frozenset({State.FAILED, State.STOPPED}),
            "call_sid": "x",
            "account_sid": "x",
            "connector_name": "x",
            "reference": "x",
            "labels": (("team", "x"),),
            "requested_after": NOW,
            "requested_before": NOW,
        }
        for name, value in others.items():
            assert session_lists.page(db, replace(narrow, **{name: value}), ALL_ACCOUNTS, None, 9) == [], name


def test_only_a_session_whose_answer_is_late_is_overdue(database: Database, claim: IdempotencyKey) -> None:
    late, later, waiting = (replace(new(), deadline_at=NOW + n * SECOND) for n in (-2, -1, 1))
    answered = replace(new(), deadline_at=None, answer=ANSWERS[1])
    for one in (later, waiting, answered, late, new()):
        assert insert(database, one, claim)
    with database.read() as db:
        assert sessions.overdue(db, NOW, 9) == [late.id, later.id]
        assert sessions.overdue(db, NOW, 1) == [late.id]


def test_a_change_is_told_in_values_that_json_has(database: Database, claim: IdempotencyKey) -> None:
    one = new()
    insert(database, one, claim)
    refused = fold(ORDER, [REFUSED, Notice(NoticeKind.STOP_REQUESTED, NOW)])
    told = changes(Progress(), refused)
    with database.begin() as db:
        batch = Batch(db)
        changed = events.EventKind.CHANGED
        change = events.Change(one.id, changed, "an app", told, refused.state, "account-1", None, NOW)
        events.add(batch, [change], NOW + SECOND)
        batch.write()
    with database.read() as db:
        (event,) = events.of_session(db, one.id, 0, 2)
    assert (event.state, event.happened_at, event.written_at) == (State.REFUSED, NOW, NOW + SECOND)
    assert event.changes == {
        "state": ["requested", "refused"],
        "stop_requested_at": [None, "2026-03-01T12:00:00.000000Z"],
        "error": [None, {"kind": "rejected", "status": 422, "code": "10032", "detail": "no ünput"}],
    }
