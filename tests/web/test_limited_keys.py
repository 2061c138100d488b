"""What a key may not see does not exist for it: every door shows the rest, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete

from service.domain.access import Access, Scope
from service.domain.callback import Callback, Delivery
from service.domain.ids import new_id
from service.domain.notice import Notice, NoticeKind
from service.domain.session import Origin, Session
from service.domain.start import Order
from service.domain.state import State
from service.store import callback_lists, callbacks, events, keys, sessions, tables
from service.store.batch import Batch
from service.store.keys import named
from service.store.sessions import IdempotencyKey
from tests.web.indoors import Caller, Indoors, JsonResponse

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACCOUNTS = ["a", "b", "c"]
TABLES = (tables.callback, tables.event, tables.session_label, tables.session)


@dataclass(frozen=True)
class Made:
    """A session to be written: of an account, at a second, perhaps merged into the one before it."""

    account_sid: str
    second: int
    reference: str
    is_merged: bool = False


@dataclass(frozen=True)
class Came:
    """A callback to be written: of the session with this number, or of none; and what vouches for it."""

    session: int | None
    account_sid: str | None
    is_signed: bool
    method: str
    problem: str | None


SESSIONS = st.lists(
    st.builds(Made, st.sampled_from(ACCOUNTS), st.integers(0, 3), st.sampled_from("xy"), st.booleans()),
    max_size=6,
)
CALLBACKS = st.lists(
    st.builds(
        Came,
        st.none() | st.integers(0, 5),
        st.sampled_from([*ACCOUNTS, None]),
        st.booleans(),
        st.sampled_from(["POST", "POST", "GET"]),
        st.sampled_from([None, "odd"]),
    ),
    max_size=8,
)


def write(db: Connection, made: list[Made], came: list[Came]) -> list[str]:
    """The ids of the sessions, in their order."""
    for table in TABLES:
        db.execute(delete(table))
    ids: list[str] = []
    for one in made:
        at = NOON + timedelta(seconds=one.second)
        order = Order(
            one.account_sid, f"call {len(ids)}", reference=one.reference, labels={"r": one.reference}
        )
        into = ids[-1] if ids and one.is_merged else None
        new = Session(new_id(), Origin.API, order, at, at, merged_into=into)
        assert sessions.insert(db, new, IdempotencyKey(None))  # type: ignore[arg-type]
        ids.append(new.id)
    batch = Batch(db)
    kinds = (events.EventKind.CREATED, events.EventKind.CHANGED)
    changes = [
        events.Change(id, kind, "an app", {}, State.REQUESTED, one.account_sid, None, NOON)
        for id, one in zip(ids, made, strict=True)
        for kind in kinds
    ]
    events.add(batch, changes, NOON)
    callbacks.add(batch, [_callback(one, number, ids) for number, one in enumerate(came)], NOON)
    batch.write()
    return ids


def _callback(one: Came, number: int, ids: list[str]) -> tuple[callbacks.KnownCallback, Callback]:
    body = b"" if one.method == "GET" else b"N=%d" % number
    delivery = Delivery(new_id(), NOON, one.method, None, b"N=%d" % number, {}, body)
    notice = Notice(NoticeKind.OTHER, NOON, digest=b"%d" % number, account_sid=one.account_sid)
    session_id = ids[one.session] if one.session is not None and one.session < len(ids) else None
    verified_by = "ed25519:0" if one.is_signed else "token"
    said = Callback(delivery, session_id, verified_by, "siprec-started", notice, one.problem)
    return callbacks.new(said, session_id), said


def walked(client: Caller, path: str, what: str, **query: Any) -> list[dict[str, Any]]:
    """What all pages show."""
    found: list[dict[str, Any]] = []
    for _ in range(100):
        answer = client.get(path, query_string=query)
        assert answer.status_code == 200, answer.text
        found += answer.json[what]
        if answer.json["next_cursor"] is None:
            return found
        query["cursor"] = answer.json["next_cursor"]
    raise AssertionError("the pages do not end")


FILTERS: list[dict[str, Any]] = [
    {},
    {"state": "requested"},
    {"state": "stopped"},
    {"state": ["requested", "stopped"]},
    {"account_sid": "a"},
    {"account_sid": "b"},
    {"reference": "x"},
    {"label": "r:y"},
    {"call_sid": "call 1"},
    {"requested_after": "2026-03-01T12:00:00Z"},
    {"requested_before": "2026-03-01T12:00:02Z"},
]


def is_own(callback: dict[str, Any], account_of: dict[str, str], accounts: Collection[str]) -> bool:
    if callback["session_id"] is not None:
        return account_of[callback["session_id"]] in accounts
    is_signed = callback["verified_by"] != "token" and callback["method"] == "POST"
    return is_signed and callback["account_sid"] in accounts


def test_every_door_shows_what_an_unlimited_key_sees_of_its_accounts(
    indoors: Indoors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filtered in Python."""
    database, everything = indoors.context.database, indoors.client
    choices = [["a"], ["b"], ["z"], ["a", "b"], ["c", "z"], ["a", "b", "c"]]
    clients = {tuple(one): indoors.limited(accounts=one) for one in choices}

    @given(
        made=SESSIONS,
        came=CALLBACKS,
        accounts=st.sampled_from(choices),
        limit=st.integers(1, 4),
        scanned=st.sampled_from([1, 2, 3, 5000]),
    )
    @settings(max_examples=25, deadline=None, database=None)
    def check(made: list[Made], came: list[Came], accounts: list[str], limit: int, scanned: int) -> None:
        monkeypatch.setattr(callback_lists, "MOST_SCANNED", scanned)
        with database.begin() as db:
            ids = write(db, made, came)
        account_of = {id: one.account_sid for id, one in zip(ids, made, strict=True)}
        limited = clients[tuple(accounts)]
        for query in FILTERS:
            whole = walked(everything, "/v1/sessions", "sessions", **query)
            shown = walked(limited, "/v1/sessions", "sessions", limit=limit, **query)
            assert shown == [one for one in whole if one["account_sid"] in accounts], query
        for query in ({}, {"problem": "true"}, {"problem": "false"}):
            whole = walked(everything, "/v1/callbacks", "callbacks", **query)
            shown = walked(limited, "/v1/callbacks", "callbacks", limit=limit, **query)
            assert shown == [one for one in whole if is_own(one, account_of, accounts)], query
        for id, account_sid in account_of.items():
            _check_session(everything, limited, id, is_seen=account_sid in accounts)
        _check_cursors(everything, limited, accounts)

    check()


def _check_session(everything: Caller, limited: Caller, session_id: str, *, is_seen: bool) -> None:
    path = f"/v1/sessions/{session_id}"
    doors = [
        ("GET", path),
        ("GET", f"{path}/timeline"),
        ("GET", f"{path}/callbacks"),
        ("POST", f"{path}/stop"),
    ]
    for method, door in doors:
        whole, shown = (client.open(door, method=method) for client in (everything, limited))
        assert whole.status_code == (409 if method == "POST" else 200), whole.text
        if is_seen:
            assert (shown.status_code, said(shown)) == (whole.status_code, said(whole))
        else:
            assert is_unknown(shown)


def _check_cursors(everything: Caller, limited: Caller, accounts: Collection[str]) -> None:
    """A cursor that somebody else was given opens nothing."""
    first = everything.get("/v1/sessions?limit=1").json["next_cursor"]
    if first:
        rest = walked(everything, "/v1/sessions", "sessions", cursor=first)
        shown = walked(limited, "/v1/sessions", "sessions", cursor=first)
        assert shown == [one for one in rest if one["account_sid"] in accounts]


def said(answer: JsonResponse) -> dict[str, Any]:
    return {name: value for name, value in answer.json.items() if name != "request_id"}


def is_unknown(answer: JsonResponse) -> bool:
    """As a session that nobody has: to the letter."""
    assert said(answer) == {
        "type": "urn:siprec-ledger:problem:unknown-session",
        "title": "Session not found",
        "status": 404,
        "detail": "No session has this id",
    }
    return answer.status_code == 404


def problem(answer: JsonResponse) -> tuple[int, str]:
    return answer.status_code, answer.json["type"].rpartition(":")[2]


def test_nothing_is_started_for_an_account_that_is_not_its_own(indoors: Indoors) -> None:
    limited = indoors.limited(accounts=["account-2"])
    for body in ({"call_sid": "c"}, {"call_sid": "c", "account_sid": "account-1"}):
        answer = limited.post("/v1/sessions", json=body)
        assert problem(answer) == (403, "account-not-allowed")
        assert answer.json["title"] == "API key may not act for this account"
    assert indoors.sandbox.requests == []
    assert indoors.client.get("/v1/sessions").json["sessions"] == []
    answer = limited.post("/v1/sessions", json={"call_sid": "c", "account_sid": "account-2"})
    assert (answer.status_code, answer.json["account_sid"]) == (201, "account-2")


def test_nothing_of_another_account_is_stopped(indoors: Indoors) -> None:
    session_id = indoors.started()
    before = indoors.session(session_id)
    assert is_unknown(indoors.limited(accounts=["account-2"]).post(f"/v1/sessions/{session_id}/stop"))
    assert len(indoors.sandbox.requests) == 1
    assert indoors.session(session_id) == before
    own = indoors.limited(Scope.STOP, accounts=["account-1"])
    assert own.post(f"/v1/sessions/{session_id}/stop").status_code == 202


def test_a_replay_shows_no_session_that_its_key_may_not_see_any_more(indoors: Indoors) -> None:
    """Not by the same request, not by another one with its idempotency key."""
    body, once = {"call_sid": "c"}, {"Idempotency-Key": "k"}
    session_id = indoors.client.post("/v1/sessions", json=body, headers=once).json["id"]
    with indoors.context.database.begin() as db:
        key = named(db, "app-1")
        assert key
        keys.change(db, key.id, Access(accounts=frozenset({"account-2"})))
    answer = indoors.client.post("/v1/sessions", json=body, headers=once)
    assert problem(answer) == (403, "account-not-allowed")
    for more in ({"account_sid": "account-2"}, {"account_sid": "account-2", "name": "x"}):
        answer = indoors.client.post("/v1/sessions", json=body | more, headers=once)
        assert problem(answer) == (422, "key-reused")
        assert "session_id" not in answer.json
        assert session_id not in answer.text
    assert len(indoors.sandbox.requests) == 1


def test_nor_does_the_very_same_request_once_it_is_for_another_account(
    furnish: Callable[..., Indoors],
) -> None:
    """It names none, and TELNYX_ACCOUNT_SID has become another."""
    before, body, once = furnish(), {"call_sid": "c"}, {"Idempotency-Key": "k"}
    text = before.new_key("mover")
    first = before.bearing(text).post("/v1/sessions", json=body, headers=once)
    assert (first.status_code, first.json["account_sid"]) == (201, "account-1")
    after = furnish(TELNYX_ACCOUNT_SID="account-2")
    replayed = after.bearing(text).post("/v1/sessions", json=body, headers=once)
    assert replayed.json["id"] == first.json["id"]
    with after.context.database.begin() as db:
        key = named(db, "mover")
        assert key
        keys.change(db, key.id, Access(accounts=frozenset({"account-2"})))
    answer = after.bearing(text).post("/v1/sessions", json=body, headers=once)
    assert problem(answer) == (422, "key-reused")
    assert first.json["id"] not in answer.text
    assert len(after.sandbox.requests) == 1


def test_the_callbacks_of_a_key_s_session_are_seen_whatever_account_they_name(indoors: Indoors) -> None:
    """Telnyx sent them to that session's own URL."""
    indoors.started()
    indoors.tell("siprec-started", AccountSid="account-2")
    assert len(indoors.limited(accounts=["account-1"]).get("/v1/callbacks").json["callbacks"]) == 1
    assert indoors.limited(accounts=["account-2"]).get("/v1/callbacks").json["callbacks"] == []


def test_a_key_with_no_account_at_all_sees_nothing(indoors: Indoors) -> None:
    """No door makes one; a hand in the database may."""
    session_id = indoors.started()
    indoors.tell("siprec-started")
    nobody = indoors.bearing(indoors.new_key("nobody", Access(accounts=frozenset())))
    assert nobody.get("/v1/sessions").json["sessions"] == []
    assert nobody.get("/v1/callbacks").json["callbacks"] == []
    assert is_unknown(nobody.get(f"/v1/sessions/{session_id}"))
