"""Whatever breaks between the app, us, the database and Telnyx: the ledger ends in the truth."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest
import requests
from sqlalchemy import text

from service.sandbox import EVENTS, Answer, Behaviour, Sandbox
from service.store.engine import Database
from tests.bed.postgres import Postgres
from tests.house import House, migrate, wait_until

Build = Callable[..., House]

HANGS = Answer(kind="timeout")


@contextmanager
def in_background(call: Callable[[], requests.Response]) -> Iterator[Future[requests.Response]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call)


def start_requests(sandbox: Sandbox) -> int:
    return sum(request.path.endswith("/Siprec.json") for request in sandbox.requests)


def only_session(house: House) -> str:
    listed = house.get("/v1/sessions").json()["sessions"]
    assert len(listed) == 1
    return str(listed[0]["id"])


# Telnyx says one thing, and its callback another


def test_a_callback_can_arrive_before_telnyx_answers(house: House, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(started_before_answer=True))
    answer = house.start()
    assert (answer.status_code, answer.json()["state"]) == (201, "started")
    assert answer.json()["accepted_at"] is not None


@pytest.mark.parametrize("answer", [HANGS, Answer.error(404, detail="Resource not found")])
def test_a_callback_outranks_what_telnyx_answered(build: Build, sandbox: Sandbox, answer: Answer) -> None:
    sandbox.behave(Behaviour(answer=answer, starts=True, started_before_answer=True))
    house = build(TELNYX_TIMEOUT_SECONDS="0.5")
    told = house.start()
    assert (told.status_code, told.json()["state"]) == (202, "started")
    assert told.json()["error"] is None
    assert told.json()["answer"]["outcome"] in {"unanswered", "refused"}
    assert told.json()["siprec_sid"] == sandbox.sessions[0].sid


def test_a_callback_overrules_a_refusal_that_the_app_was_told(house: House, sandbox: Sandbox) -> None:
    late = Behaviour(answer=Answer.error(404), starts=True, started_after_seconds=1)
    sandbox.behave(late)
    refused = house.start()
    assert refused.status_code == 422
    house.wait_for(refused.json()["session_id"], "started")


# The process dies


# The shortest deadlines that these times for an answer allow.
SHORT = {"TELNYX_TIMEOUT_SECONDS": "1", "START_DEADLINE_SECONDS": "10"}
LONGER = {"TELNYX_TIMEOUT_SECONDS": "2", "START_DEADLINE_SECONDS": "16"}


def test_a_start_killed_before_its_request_is_unanswered(build: Build, sandbox: Sandbox) -> None:
    with ExitStack() as open_sockets:
        deaf = open_sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        while _can_connect(deaf, open_sockets):
            pass
        port = deaf.getsockname()[1]
        house = build(**SHORT, TELNYX_BASE_URL=f"http://127.0.0.1:{port}/v2")
        with in_background(house.start) as start:
            wait_until(lambda: house.get("/v1/sessions").json()["sessions"] != [])
            house.web.kill_master()
            assert start.exception() is not None
    house.web.start()
    house.wait_for(only_session(house), "unanswered")
    assert start_requests(sandbox) == 0


def test_a_start_killed_between_request_and_answer_is_unanswered(build: Build, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(answer=HANGS))
    house = build(**SHORT)
    with in_background(house.start) as start:
        wait_until(lambda: start_requests(sandbox) == 1)
        house.web.kill_master()
        assert start.exception() is not None
    house.web.start()
    session_id = only_session(house)
    told = house.wait_for(session_id, "unanswered")
    assert told["error"]["kind"] == "no_answer"
    assert [event["state"] for event in told["timeline"]] == ["requested", "unanswered"]


def test_a_start_killed_between_answer_and_second_commit_is_settled_by_its_callback(
    build: Build, sandbox: Sandbox
) -> None:
    sandbox.behave(Behaviour(answer=Answer(delay_seconds=0.3), started_after_seconds=12))
    house = build(**SHORT)
    with in_background(house.start) as start:
        wait_until(lambda: start_requests(sandbox) == 1)
        with _shut(house.database):
            wait_until(lambda: sandbox.sessions[0].status != "accepted" or _is_answered(sandbox))
            house.web.kill_master()
            assert start.exception() is not None
    house.web.start()
    session_id = only_session(house)
    house.wait_for(session_id, "unanswered")
    told = house.wait_for(session_id, "started")
    assert told["siprec_sid"] == sandbox.sessions[0].sid


def _is_answered(sandbox: Sandbox) -> bool:
    threading.Event().wait(1.5)  # longer than the sandbox takes to answer
    return True


@contextmanager
def _shut(database: Database) -> Iterator[None]:
    """Nobody else writes to a session."""
    with database.begin() as db:
        if db.dialect.name == "postgresql":
            db.execute(text("LOCK TABLE session IN SHARE MODE"))
        yield


def _can_connect(deaf: socket.socket, opened: ExitStack) -> bool:
    caller = opened.enter_context(socket.socket())
    caller.settimeout(0.3)
    try:
        caller.connect(deaf.getsockname())
    except TimeoutError:
        return False
    return True


# The database goes


def test_an_answer_that_finds_the_database_locked_is_kept_as_soon_as_it_is_free(
    build: Build, sandbox: Sandbox
) -> None:
    sandbox.behave(Behaviour(answer=Answer(delay_seconds=0.5), drop=frozenset({"siprec-started"})))
    house = build()
    with in_background(house.start) as start:
        wait_until(lambda: start_requests(sandbox) == 1)
        with _shut(house.database):
            told = start.result()
        assert (told.status_code, told.json()["state"]) == (202, "requested")
    shown = house.wait_for(told.json()["id"], "accepted")
    assert shown["siprec_sid"] == sandbox.sessions[0].sid


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


def test_an_answer_that_finds_no_database_is_kept_when_it_is_back(
    own_postgres: Postgres, sandbox: Sandbox
) -> None:
    url = own_postgres.create_database()
    migrate(url)
    sandbox.behave(Behaviour(answer=Answer(delay_seconds=2), drop=frozenset({"siprec-started"})))
    with House(url, sandbox) as house, in_background(house.start) as start:
        wait_until(lambda: start_requests(sandbox) == 1)
        own_postgres.stop("immediate")
        told = start.result()
        assert (told.status_code, told.json()["state"]) == (202, "requested")
        own_postgres.start()
        wait_until(lambda: house.get(f"/v1/sessions/{told.json()['id']}").status_code == 200)
        house.wait_for(told.json()["id"], "accepted")


def test_a_frozen_database_holds_up_neither_callbacks_nor_health_checks_nor_later_polls(
    own_postgres: Postgres, sandbox: Sandbox
) -> None:
    url = own_postgres.create_database()
    migrate(url)
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    with House(url, sandbox, THREADS="8") as house, ThreadPoolExecutor(16) as pollers:
        started = house.start().json()
        session_id = started["id"]
        body = sandbox.compose(started["siprec_sid"], "siprec-started")
        own_postgres.freeze()
        try:
            first = [pollers.submit(house.get, "/v1/sessions") for _ in range(16)]
            ready, seconds = timed(lambda: house.get("/readyz?x=1"))
            assert (ready.status_code, seconds < 0.5) == (200, True)
            assert _post(house.callback_url(), body, sandbox.sign(body)) == 200
            assert {poll.result().status_code for poll in first} == {503}
            for path in ("/v1/sessions", f"/v1/sessions/{session_id}"):
                poll, seconds = timed(partial(house.get, path))
                assert (poll.status_code, poll.json()["title"]) == (503, "Database unavailable")
                assert seconds < 0.5
            assert house.get("/readyz").json()["database"]["answers"] is False
        finally:
            own_postgres.thaw()
        wait_until(lambda: house.get("/v1/sessions").status_code == 200)
        house.wait_for(session_id, "started")


def timed(call: Callable[[], requests.Response]) -> tuple[requests.Response, float]:
    began = time.monotonic()
    return call(), time.monotonic() - began


def test_without_a_database_nothing_is_asked_of_telnyx(own_postgres: Postgres, sandbox: Sandbox) -> None:
    url = own_postgres.create_database()
    migrate(url)
    with House(url, sandbox) as house:
        assert house.start().status_code == 201
        own_postgres.stop("immediate")
        away = house.start()
        assert (away.status_code, away.headers["Retry-After"]) == (503, "5")
        own_postgres.start()
        wait_until(lambda: house.start().status_code == 201)
    assert start_requests(sandbox) == 2


# The same start again


def test_a_key_is_not_stuck_when_its_process_dies(build: Build, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(answer=HANGS, starts=True, started_after_seconds=19))
    one, other = build(**LONGER), build(**LONGER)
    other.http = one.http  # the same app

    def again(house: House) -> requests.Response:
        return house.post("/v1/sessions", {"call_sid": "v3:call-1"}, Idempotency_Key="claim-77")

    with in_background(lambda: again(one)) as start:
        wait_until(lambda: start_requests(sandbox) == 1)
        asking = again(other)
        assert (asking.status_code, asking.headers["Retry-After"]) == (409, "1")
        assert asking.elapsed.total_seconds() < 1
        one.web.kill_master()
        assert start.exception() is not None
    wait_until(lambda: again(other).status_code != 409)
    told = again(other)
    assert (told.status_code, told.headers["Idempotency-Replayed"]) == (202, "true")
    assert told.json()["state"] == "unanswered"
    assert told.json()["id"] == asking.json()["session_id"]
    assert start_requests(sandbox) == 1


def test_one_key_in_two_processes_at_once_starts_one_session(build: Build, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(answer=Answer(delay_seconds=0.3)))
    houses = build(), build()
    houses[1].http.headers["Authorization"] = houses[0].http.headers["Authorization"]
    with ThreadPoolExecutor(16) as pool:
        for key in ("a", "b", "c", "d"):
            start = partial(_start_with_key, key)
            told = list(pool.map(start, [*houses] * 4))
            assert {answer.status_code for answer in told} == {201, 409}
            # Who is so late that Telnyx has answered the first is told what the first was.
            created = [answer for answer in told if answer.status_code == 201]
            assert sum("Idempotency-Replayed" not in answer.headers for answer in created) == 1
            assert len({answer.json()["id"] for answer in created}) == 1
    assert start_requests(sandbox) == 4


def _start_with_key(key: str, house: House) -> requests.Response:
    return house.post("/v1/sessions", {"call_sid": key}, Idempotency_Key=key)


# Other things that happen while sessions run


def test_the_secret_key_is_rotated_while_sessions_run(build: Build, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(drop=frozenset({"siprec-stopped"})))
    house = build()
    session = house.start().json()
    url = house.callback_url()
    house.wait_for(session["id"], "started")
    house.web.stop()
    house.web.env |= {
        "SECRET_KEY": "a new secret that is long enough too",
        "SECRET_KEY_FALLBACKS": house.web.env["SECRET_KEY"],
    }
    house.web.start()
    body = sandbox.compose(session["siprec_sid"], "siprec-stopped")
    # Unsigned, the old token alone would be refused as a stranger's with 404.
    assert requests.post(url, data=body, timeout=10).status_code == 403
    assert requests.post(url, data=body, headers=sandbox.sign(body), timeout=10).status_code == 200
    assert house.session(session["id"])["state"] == "stopped"


def test_a_session_of_a_texml_document_is_adopted(house: House, sandbox: Sandbox) -> None:
    sandbox.begin("account-1", "v3:texml", f"{house.web.url}/callbacks/siprec")
    wait_until(lambda: house.get("/v1/sessions").json()["sessions"] != [])
    told = house.session(only_session(house))
    assert (told["origin"], told["state"], told["call_sid"]) == ("adopted", "started", "v3:texml")
    assert told["timeline"][0]["changes"]["state"] == [None, "started"]


def test_telnyx_hanging_on_starts_does_not_make_us_deaf(build: Build, sandbox: Sandbox) -> None:
    house = build(THREADS="32", TELNYX_TIMEOUT_SECONDS="20", START_DEADLINE_SECONDS="90")
    sid = house.start("v3:first").json()["siprec_sid"]
    url = house.callback_url("v3:first")
    sandbox.behave(Behaviour(answer=HANGS))
    with ThreadPoolExecutor(32) as pool:
        hanging = [pool.submit(house.start, f"v3:hanging-{number}") for number in range(32)]
        wait_until(lambda: start_requests(sandbox) == 1 + 8 and sum(f.done() for f in hanging) == 24)
        for number in range(20):
            body = sandbox.compose(sid, "siprec-stopped", Number=str(number))
            kept = requests.post(url, data=body, headers=sandbox.sign(body), timeout=10)
            assert kept.status_code == 200
            assert kept.elapsed.total_seconds() < 1.5
        turned_away = [future.result() for future in hanging if future.done()]
        assert {answer.status_code for answer in turned_away} == {503}
        assert all(answer.headers["Retry-After"] for answer in turned_away)
        sandbox.stop()


def test_fifty_sessions_with_ten_callbacks_each_at_once(build: Build, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(drop=frozenset({"siprec-started", "siprec-stopped"})))
    house = build(THREADS="32")
    with ThreadPoolExecutor(8) as pool:
        sessions = [answer.json() for answer in pool.map(house.start, [f"v3:{n}" for n in range(50)])]
    deliveries = [delivery for session in sessions for delivery in _ten_callbacks(house, sandbox, session)]
    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(lambda delivery: _post(*delivery), deliveries))
    assert set(statuses) == {200}
    for number, session in enumerate(sessions):
        told = house.session(session["id"])
        kept = house.callbacks(session["id"])
        assert told["state"] == ("failed" if number % 5 == 0 else "stopped")
        assert sum(callback["deliveries"] for callback in kept) == 10
        assert len(kept) == 4
        assert told["started_at"] < told["ended_at"]


def _ten_callbacks(
    house: House, sandbox: Sandbox, session: dict[str, str]
) -> list[tuple[str, bytes, dict[str, str]]]:
    """started and an end, repeated, and two more that nobody knows; each signed anew."""
    url, sid, call_sid = house.callback_url(session["call_sid"]), session["siprec_sid"], session["call_sid"]
    end = "siprec-failed" if int(call_sid.removeprefix("v3:")) % 5 == 0 else "siprec-stopped"
    started = sandbox.compose(sid, "siprec-started")
    ended = sandbox.compose(sid, end)
    others = [sandbox.compose(sid, "siprec-paused"), sandbox.compose(sid, "siprec-started", More="1")]
    bodies = [ended, started, *others, ended, started, ended, started, ended, started]
    return [(url, body, sandbox.sign(body)) for body in bodies]


def _post(url: str, body: bytes, headers: dict[str, str]) -> int:
    return requests.post(url, data=body, headers=headers, timeout=30).status_code
