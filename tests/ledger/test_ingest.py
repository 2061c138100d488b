"""Whose a callback is, and that what was heard stands once in the ledger, whoever else is writing."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from service.domain.callback import Callback, Delivery
from service.domain.ids import new_id
from service.domain.notice import Notice, NoticeKind, is_plausible
from service.domain.progress import fold
from service.domain.session import Progress
from service.domain.start import CallbackMethod, Order
from service.domain.state import State
from service.ledger.ingest import Ingest
from service.ledger.sessions import Sessions
from service.ledger.spool_entry import UnsavedAnswer
from service.sandbox import EVENTS, Answer, Behaviour, Sandbox, Session
from service.store import keys
from service.store.engine import Database
from service.store.sessions import IdempotencyKey
from service.telnyx.callback import Reader
from service.telnyx.callback_url import CallbackUrls
from service.telnyx.client import Client

SECRET = "a secret that is long enough for a test"
ADDRESSES = CallbackUrls("http://127.0.0.1:9", [SECRET])  # where nobody listens
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
OURS = "ours, by its token"


def token(session_id: str) -> str:
    return ADDRESSES.of(session_id).rpartition("/")[2]


@dataclass
class Room:
    """A control with a Telnyx that answers starts and sends no callbacks: the test hands those in."""

    database: Database
    sandbox: Sandbox
    control: Sessions = field(init=False)
    claim: IdempotencyKey = field(init=False)
    changed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        unsaved: list[UnsavedAnswer] = []
        telnyx = Client(self.sandbox.url, self.sandbox.api_key, 5, self.now)
        self.control = Sessions(
            self.database,
            telnyx,
            ADDRESSES,
            self.now,
            timedelta(seconds=60),
            16,
            unsaved.append,
            self.changed.update,
        )
        self.ingest = Ingest(self.database, self.now, self.changed.update)
        with self.database.begin() as db:
            key = keys.recognise(db, keys.create(db, "an app", START), START)
            assert key
        self.key, self.claim = key, IdempotencyKey(key.id)

    def now(self) -> datetime:
        return START

    def start(self, call_sid: str = "v3:call-1", sid: str = "sid-1") -> str:
        """The id of a session of ours, to which Telnyx answers with `sid`."""
        answer = Answer(fields={"sid": sid})
        self.sandbox.behave(Behaviour(answer=answer, drop=frozenset(EVENTS)), call_sid)
        return self.control.start(Order("account-1", call_sid), self.claim, self.key).session.id

    def told(
        self,
        event: str = "siprec-started",
        at: int = 1,
        session_id: str | None = None,
        call_sid: str = "v3:call-1",
        sid: str = "sid-1",
        **fields: Any,
    ) -> Callback:
        """A signed callback about what happened `at` seconds; by the token of `session_id`, or by none."""
        body = self.sandbox.compose(
            Session("account-1", call_sid, sid), event, START + timedelta(seconds=at), **fields
        )
        return self.delivered(body, session_id and token(session_id))

    def delivered(self, body: bytes, token: str | None) -> Callback:
        came = Delivery(new_id(), self.now(), "POST", token, b"", self.sandbox.sign(body, START), body)
        return Reader([self.sandbox.public_key], ADDRESSES, must_be_signed=True).read(came)

    def hear(self, *batch: Callback) -> None:
        self.ingest.write(batch)

    def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        with self.database.read() as db:
            return [dict(row) for row in db.execute(text(query), values).mappings()]

    def sessions(self) -> list[dict[str, Any]]:
        """Those that were not folded into others, the oldest first."""
        return self.rows("SELECT * FROM report_sessions_v1 ORDER BY requested_at, session_id")

    def callbacks(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM report_callbacks_v1 ORDER BY callback_id")

    def kept(self) -> list[tuple[str | None, str | None, int]]:
        """(session, event, deliveries) of each callback; who counted wrongly is found out here."""
        query = """
            SELECT callback.deliveries - 1 AS counted, count(callback_repeat.id) AS further
            FROM callback LEFT JOIN callback_repeat ON callback_repeat.callback_id = callback.id
            GROUP BY callback.id, callback.deliveries
        """
        assert all(row["counted"] == row["further"] for row in self.rows(query))
        return [(row["session_id"], row["event"], row["deliveries"]) for row in self.callbacks()]

    def deliveries(self) -> int:
        return sum(deliveries for _, _, deliveries in self.kept())


@pytest.fixture
def room(database: Database, sandbox: Sandbox) -> Room:
    return Room(database, sandbox)


def again(told: Callback) -> Callback:
    """The same callback, delivered once more."""
    return replace(told, delivery=replace(told.delivery, id=new_id()))


def received(seconds: int, told: Callback) -> Callback:
    """The same callback, received so many seconds after START."""
    at = START + timedelta(seconds=seconds)
    notice = replace(told.notice, received_at=at, time_is_plausible=is_plausible(told.notice.happened_at, at))
    return replace(told, delivery=replace(told.delivery, received_at=at), notice=notice)


# A batch


def test_a_batch_holds_several_callbacks_of_a_session_and_the_same_one_twice(room: Room) -> None:
    ours = room.start()
    started, stopped = room.told(session_id=ours), room.told("siprec-stopped", 9, session_id=ours)
    room.hear(stopped, started, again(started), again(stopped), again(started))
    (session,) = room.sessions()
    assert (session["session_id"], session["state"], session["duration_seconds"]) == (ours, "stopped", 8.0)
    assert sorted(room.kept(), key=str) == [(ours, "siprec-started", 3), (ours, "siprec-stopped", 2)]


def test_an_empty_batch_is_nothing(room: Room) -> None:
    room.hear()
    assert room.callbacks() == []


def test_a_repeat_in_a_later_batch_is_counted_and_changes_nothing_else(room: Room) -> None:
    ours = room.start()
    told = room.told(session_id=ours)
    room.hear(told)
    before = room.sessions(), room.rows("SELECT * FROM event ORDER BY sequence")
    room.hear(again(told))
    assert (room.sessions(), room.rows("SELECT * FROM event ORDER BY sequence")) == before
    assert room.kept() == [(ours, "siprec-started", 2)]


def test_a_batch_given_again_counts_nothing_twice(room: Room) -> None:
    ours = room.start()
    told = room.told(session_id=ours)
    stray = room.told(SiprecSid=None)
    batch = [told, again(told), room.told("siprec-stopped", 5, session_id=ours), stray, again(stray)]
    room.hear(*batch)
    before = room.kept()
    room.hear(*batch)
    room.hear(*reversed(batch), room.told("siprec-stopped", 7, session_id=ours))
    assert room.kept()[:-1] == before
    assert room.deliveries() == len(batch) + 1


def test_one_delivery_that_stands_in_a_batch_twice_counts_once(room: Room) -> None:
    told, stray = room.told(session_id=room.start()), room.told(SiprecSid=None)
    room.hear(told, told, stray, stray)
    assert [deliveries for _, _, deliveries in room.kept()] == [1, 1]


def test_one_delivery_that_two_hear_at_the_same_time_counts_once(room: Room) -> None:
    ours = room.start()
    for seconds in range(10):
        told = [room.told(at=seconds, session_id=ours), room.told(at=seconds, SiprecSid=None)]
        ready = threading.Barrier(4)

        def hear(ready: threading.Barrier = ready, told: list[Callback] = told) -> None:
            ready.wait()
            room.hear(*told)

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(hear) for _ in range(4)]:
                done.result()
    assert {deliveries for _, _, deliveries in room.kept()} == {1}
    assert len(room.kept()) == 20


def test_an_event_nobody_has_heard_of_is_kept_and_moves_no_media_state(room: Room) -> None:
    events = ["siprec-paused", "accepted", "stop-requested", ""]
    for n, event in enumerate(events):
        ours = room.start(f"v3:call-{n}", f"sid-{n}")
        room.hear(room.told(event, session_id=ours, call_sid=f"v3:call-{n}", sid=f"sid-{n}"))
    assert {row["state"] for row in room.sessions()} == {"accepted"}
    assert [row["event"] for row in room.callbacks()] == [event or None for event in events]


def test_whatever_a_callback_holds_is_kept_with_a_problem(room: Room) -> None:
    ours = room.start()
    bodies = {b"", b"\0", b"\xff=\xff", b"SiprecSid=a%00b&SiprecEvent=%ED%A0%80", b'{"a": 1}', b"a=&" * 1000}
    for body in bodies:
        room.hear(room.delivered(body, token(ours)), room.delivered(body, None))
    assert [row["session_id"] for row in room.callbacks()].count(ours) == len(bodies)
    assert [row["session_id"] for row in room.callbacks()].count(None) == len(bodies)
    assert all(row["problem"] for row in room.callbacks())
    assert {bytes(row["body"]) for row in room.rows("SELECT body FROM callback")} == bodies


# Whose it is


def test_a_token_names_the_session_whatever_the_fields_say(room: Room) -> None:
    ours = room.start()
    room.hear(room.told(session_id=ours, call_sid="v3:another"))
    assert room.kept() == [(ours, "siprec-started", 1)]
    assert room.sessions()[0]["state"] == "accepted"
    assert room.callbacks()[0]["problem"] == "CallSid is another call's: it moved nothing"


def test_another_account_is_a_problem_and_moves_it(room: Room) -> None:
    ours = room.start()
    room.hear(room.told(session_id=ours, AccountSid="account-2"))
    assert room.sessions()[0]["state"] == "started"
    assert room.callbacks()[0]["problem"] == "AccountSid is not the one that was asked for"


def test_a_third_sid_moves_nothing_whatever_its_timestamp_and_its_callback_says_so(room: Room) -> None:
    ours = room.start(sid="answered")
    room.hear(room.told(at=9, session_id=ours, sid="second"))
    room.hear(received(1, room.told("siprec-stopped", 5, session_id=ours, sid="first")))
    (session,) = room.sessions()
    assert (session["state"], session["siprec_sid"], session["callback_siprec_sid"]) == (
        "started",
        "answered",
        "second",
    )
    problems = {row["siprec_sid"]: row["problem"] for row in room.callbacks()}
    assert problems == {
        "first": "SiprecSid is neither the answer's nor the first other one: it moved nothing",
        "second": "SiprecSid is not the one that Telnyx answered",
    }


def test_without_a_token_of_ours_the_ids_tell(room: Room) -> None:
    ours = room.start()
    other = CallbackUrls("http://127.0.0.1:9", ["another secret that is long enough, too"])
    body = room.told().delivery.body
    for given in (None, "nonsense", other.of(ours).rpartition("/")[2]):
        room.hear(room.delivered(body, given))
    assert room.kept() == [(ours, "siprec-started", 3)]
    assert room.sessions()[0]["state"] == "started"


def test_the_sid_that_callbacks_use_finds_the_session_as_well_as_the_answered_one(room: Room) -> None:
    ours = room.start(sid="answered")
    room.hear(room.told(session_id=ours, sid="heard"))
    room.hear(room.told("siprec-stopped", 8, sid="heard"), room.told("siprec-failed", 9, sid="answered"))
    assert {session for session, _, _ in room.kept()} == {ours}
    assert room.sessions()[0]["state"] == "failed"


def test_a_stray_is_kept_once_and_counted(room: Room) -> None:
    for stray in (room.told(SiprecSid=None), room.told(CallSid=None), room.told(AccountSid="")):
        room.hear(stray, again(stray))
        room.hear(again(stray))
    assert room.kept() == [(None, "siprec-started", 3)] * 3
    for row in room.callbacks():
        assert row["problem"].endswith("; it belongs to no session that we know")
    assert room.sessions() == []


def test_a_get_without_a_session_is_a_stray(room: Room) -> None:
    told = room.told()
    asked = Delivery(
        new_id(),
        START,
        "GET",
        ADDRESSES.of(new_id(), CallbackMethod.GET).rpartition("/")[2],
        told.delivery.body,
        room.sandbox.sign(b"", START),
        b"",
    )
    room.hear(Reader([room.sandbox.public_key], ADDRESSES, must_be_signed=True).read(asked))
    assert room.kept() == [(None, "siprec-started", 1)]


# Adoption


def test_a_session_that_a_document_started_is_adopted(room: Room) -> None:
    room.hear(room.told(at=2), room.told("siprec-stopped", 7))
    room.hear(room.told("siprec-failed", 8, call_sid="v3:call-2", sid="sid-2"))
    one, other = sorted(room.sessions(), key=lambda row: row["call_sid"])
    assert (one["origin"], one["account_sid"], one["call_sid"], one["siprec_sid"]) == (
        "adopted",
        "account-1",
        "v3:call-1",
        "sid-1",
    )
    assert (one["state"], one["duration_seconds"], one["requested_by"]) == ("stopped", 5.0, None)
    assert (other["state"], other["error_detail"]) == ("failed", "no-answer")
    assert one["seconds_to_started"] is None
    assert len(room.kept()) == 3


def test_a_token_of_a_session_that_does_not_exist_is_no_token(room: Room) -> None:
    room.hear(room.told(session_id=new_id()))
    (session,) = room.sessions()
    assert (session["origin"], session["state"]) == ("adopted", "started")


@pytest.mark.parametrize("same", [("v3:call-1", "sid-2"), ("v3:call-2", "sid-1")])
def test_each_recording_is_adopted_by_itself(room: Room, same: tuple[str, str]) -> None:
    call_sid, sid = same
    room.hear(room.told(), room.told(call_sid=call_sid, sid=sid))
    assert len(room.sessions()) == 2


def play(room: Room, order: str, call_sid: str, ours: str | None = None) -> str:
    """Start it by us, hear of it without a token, and by ours, in this order; our session's id."""
    about: dict[str, Any] = {"call_sid": call_sid, "sid": f"{call_sid} sid"}
    for step in order.split(", "):
        if step == "answer":
            ours = room.start(**about)
            continue
        tokens = [None if one == "tokenless" else ours for one in step.split(" and ")]
        room.hear(*(room.told(session_id=one, **about) for one in tokens))
    assert ours
    return ours


ANSWERED = [
    "tokenless, answer",
    "answer, tokenless",
    "tokenless, answer, ours",
    "answer, ours, tokenless",
    "answer, ours and tokenless",
    "answer, tokenless and ours",
    "tokenless, tokenless, answer, ours and tokenless",
]
NEVER_ANSWERED = [
    "tokenless, ours",
    "ours, tokenless",
    "ours and tokenless",
    "tokenless and ours",
    "tokenless, ours and tokenless",
    "tokenless, tokenless and ours",
]


def test_one_recording_is_one_session_in_every_order(room: Room) -> None:
    for order in [*ANSWERED, *NEVER_ANSWERED]:
        ours = play(room, order, order, None if "answer" in order else unanswered(room, order))
        sessions = [row for row in room.sessions() if row["call_sid"] == order]
        told = [(row["session_id"], row["origin"], row["state"], row["siprec_sid"]) for row in sessions]
        assert told == [(ours, "api", "started", f"{order} sid")]
        others = room.rows(
            "SELECT merged_into FROM session WHERE call_sid = :c AND origin = 'adopted'", c=order
        )
        assert [row["merged_into"] for row in others] in ([], [ours])
        deliveries = order.count("tokenless") + order.count("ours")
        assert (ours, "siprec-started", deliveries) in room.kept(), order
    assert len(room.kept()) == len(ANSWERED + NEVER_ANSWERED)


def unanswered(room: Room, call_sid: str) -> str:
    """The id of a session of ours to whose start Telnyx never answered."""
    room.sandbox.behave(Behaviour(answer=Answer(kind="close"), drop=frozenset(EVENTS)), call_sid)
    return room.control.start(Order("account-1", call_sid), room.claim, room.key).session.id


def test_what_an_adopted_session_has_heard_moves_over_with_its_times_and_its_events(room: Room) -> None:
    room.hear(room.told(at=2), room.told("siprec-stopped", 7), again(room.told("siprec-stopped", 7)))
    adopted = room.sessions()[0]["session_id"]
    ours = room.start()
    (session,) = room.sessions()
    assert (session["session_id"], session["state"], session["duration_seconds"]) == (ours, "stopped", 5.0)
    assert sorted(room.kept(), key=str) == [(ours, "siprec-started", 1), (ours, "siprec-stopped", 2)]
    told = room.rows("SELECT subject_id AS session_id, state FROM event ORDER BY sequence")
    assert [row["state"] for row in told if row["session_id"] == adopted] == ["stopped", "stopped"]
    ours_told = [row["state"] for row in told if row["session_id"] == ours]
    assert ours_told == sorted(ours_told, key=lambda state: State(state).rank)
    assert ours_told[-1] == "stopped"
    room.hear(room.told("siprec-failed", 9))
    assert [row["state"] for row in room.sessions()] == ["failed"]


def test_another_call_with_the_same_sid_is_another_recording(room: Room) -> None:
    room.hear(room.told(call_sid="v3:call-2"))
    room.start()
    assert sorted(row["origin"] for row in room.sessions()) == ["adopted", "api"]


def test_ids_of_any_letters_can_be_adopted(room: Room) -> None:
    letters = random.Random(7)
    wild = ["".join(chr(letters.randrange(0x10000, 0x1F000)) for _ in range(63)) for _ in range(3)]
    room.hear(room.told(AccountSid=wild[0], CallSid=wild[1], SiprecSid=wild[2]))
    longer = ["".join(chr(letters.randrange(0x10000, 0x1F000)) for _ in range(255)) for _ in range(3)]
    room.hear(room.told(AccountSid=longer[0], CallSid=longer[1], SiprecSid=longer[2]))
    assert [row["call_sid"] for row in room.sessions()] == [wild[1]]
    assert len(room.kept()) == 2


# Many at once


def shuffled_batches(told: Sequence[Callback], seed: int) -> list[list[Callback]]:
    dice = random.Random(seed)
    left, batches = dice.sample(told, len(told)), []
    while left:
        size = dice.randint(1, 6)
        batches.append(left[:size])
        left = left[size:]
    return batches


def hear_at_once(room: Room, batches: Iterable[list[Callback]], threads: int = 8) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(room.hear, *batch) for batch in batches]:
            done.result()


def folded(told: Iterable[Notice], sid: str | None, call_sid: str) -> Progress:
    first = {notice.digest: notice for notice in told}
    answer = [Notice(NoticeKind.ACCEPTED, START, siprec_sid=sid)] if sid else []
    return fold(Order("account-1", call_sid), [*answer, *first.values()])


@pytest.mark.parametrize("seed", [1, 2])
def test_overlapping_batches_from_eight_threads_end_in_the_same_sessions(room: Room, seed: int) -> None:
    ours = {f"v3:ours-{n}": room.start(f"v3:ours-{n}", f"sid-{n}") for n in range(6)}
    told: list[Callback] = []
    for n, (call_sid, session_id) in enumerate(ours.items()):
        about: dict[str, Any] = {"call_sid": call_sid, "sid": f"sid-{n}"}
        events = [("siprec-started", 2), ("siprec-started", 3), ("siprec-stopped", 9), ("siprec-odd", 4)]
        events += [("siprec-failed", 12)] if n % 2 else []
        for event, at in events:
            told += [room.told(event, at, session_id, **about), room.told(event, at, session_id, **about)]
            told.append(room.told(event, at, None, **about))
        told.append(room.told("siprec-failed", 20, session_id, call_sid=call_sid, sid="another"))
    for n in range(4):
        for event, at in (("siprec-started", 1), ("siprec-stopped", 5), ("siprec-stopped", 5)):
            told.append(room.told(event, at, call_sid=f"v3:adopted-{n}", sid=f"sid-{n}"))
    told += [room.told(SiprecSid=None) for _ in range(5)]

    hear_at_once(room, shuffled_batches(told, seed))

    assert room.deliveries() == len(told)
    found = {row["call_sid"]: row for row in room.sessions()}
    assert len(found) == len(room.sessions()) == 10
    for call_sid, row in found.items():
        notices = [one.notice for one in told if one.notice.call_sid == call_sid and one.notice.siprec_sid]
        expected = folded(notices, f"sid-{call_sid[-1]}" if call_sid in ours else None, call_sid)
        assert (row["state"], row["siprec_sid"]) == (expected.state, expected.siprec_sid)
        assert expected.ended_at
        assert expected.started_at
        assert row["duration_seconds"] == (expected.ended_at - expected.started_at).total_seconds()
        if call_sid in ours:
            assert row["session_id"] == ours[call_sid]
    counted = Counter((row["session_id"], row["digest"]) for row in room.rows("SELECT * FROM callback"))
    assert set(counted.values()) == {1}


def test_an_adoption_that_races_with_our_answer_leaves_one_session(room: Room) -> None:
    for n in range(30):
        call_sid, ready = f"v3:call-{n}", threading.Barrier(3)

        def start(call_sid: str = call_sid, ready: threading.Barrier = ready, n: int = n) -> str:
            ready.wait()
            return room.start(call_sid, f"sid-{n}")

        def hear(event: str, call_sid: str = call_sid, ready: threading.Barrier = ready, n: int = n) -> None:
            ready.wait()
            threading.Event().wait(random.random() / 50)  # about as long as a start takes
            room.hear(room.told(event, 3, call_sid=call_sid, sid=f"sid-{n}"))

        with ThreadPoolExecutor(3) as pool:
            ours = pool.submit(start)
            heard = [pool.submit(hear, event) for event in ("siprec-started", "siprec-stopped")]
            for one in heard:
                one.result()
            session_id = ours.result()

        (session,) = (row for row in room.sessions() if row["call_sid"] == call_sid)
        assert (session["session_id"], session["state"]) == (session_id, "stopped")
        assert [row["session_id"] for row in room.callbacks() if row["call_sid"] == call_sid] == [
            session_id
        ] * 2
