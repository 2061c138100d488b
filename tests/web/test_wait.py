"""Apps wait for a state of a session, and need not ask again and again."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import requests
from sqlalchemy import update

from service.domain.access import Access
from service.domain.ids import new_id
from service.domain.session import Origin, Session
from service.domain.start import Order
from service.domain.state import State
from service.ledger import keys as ledger_keys
from service.sandbox import EVENTS, Answer, Behaviour, Sandbox
from service.sandbox import Session as TelnyxSession
from service.store import feed, keys, sessions, tables
from service.store.sessions import IdempotencyKey
from tests.bed.postgres import Postgres, for_psycopg
from tests.house import House, migrate, wait_until
from tests.ledger import lines
from tests.web.indoors import Indoors, at_once
from tests.web.many_readers import reading

REGISTERED_SECONDS = 0.5  # until a reader waits
LONG_BEFORE_SECONDS = 10  # its time is over
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

Build = Callable[..., House]


@pytest.fixture(autouse=True)
def _silent(sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))


@contextmanager
def waiting(house: House, session_id: str, *, key: str | None = None, **query: Any) -> Iterator[Future[Any]]:
    """A reader that waits by the time of the block; its answer has `.seconds`."""
    headers = {"Authorization": f"Bearer {key or house.key}"}
    url = f"{house.web.url}/v1/sessions/{session_id}"

    def ask() -> requests.Response:
        return requests.get(url, params=query, headers=headers, timeout=40)

    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(ask)
        time.sleep(REGISTERED_SECONDS)
        yield asked


def call_back(house: House, event: str = "siprec-started", call_sid: str = "v3:call-1", by: str = "") -> None:
    """As Telnyx does, to the URL that it was given, or to the same at another address."""
    session = next(one for one in reversed(house.sandbox.sessions) if one.call_sid == call_sid)
    body = house.sandbox.compose(session, event)
    url = (by or house.web.url) + urlsplit(house.callback_url(call_sid)).path
    assert (
        requests.post(url, body, headers={**house.sandbox.sign(body), **FORM}, timeout=10).status_code == 200
    )


def seconds(answer: requests.Response) -> float:
    return answer.elapsed.total_seconds()


def test_a_reader_is_answered_as_soon_as_the_callback_has_come(house: House) -> None:
    session_id = house.start().json()["id"]
    with waiting(house, session_id, wait="started") as asked:
        assert not asked.done()
        call_back(house)
        answer = asked.result()
    assert (answer.status_code, answer.json()["state"]) == (200, "started")
    assert answer.json()["timeline"][-1]["state"] == "started"
    assert seconds(answer) < LONG_BEFORE_SECONDS
    wait_until(lambda: f'"GET /v1/sessions/{session_id}" 200' in house.web.log)
    assert house.web.log.count(f'"GET /v1/sessions/{session_id}"') == 1


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_also_where_another_process_received_it(build: Build) -> None:
    first, second = build(), build()
    session_id = first.start().json()["id"]
    with waiting(first, session_id, wait="started") as asked:
        call_back(first, by=second.web.url)
        answer = asked.result()
    assert answer.json()["state"] == "started"
    assert seconds(answer) < LONG_BEFORE_SECONDS


def test_what_does_not_concern_it_leaves_it_waiting(house: House) -> None:
    session_id = house.start().json()["id"]
    house.start("v3:call-2")
    with waiting(house, session_id, wait="over", wait_seconds=3) as asked:
        call_back(house)
        call_back(house, call_sid="v3:call-2")
        call_back(house, "siprec-stopped", "v3:call-2")
        answer = asked.result()
    assert (answer.status_code, answer.json()["state"]) == (200, "started")
    assert seconds(answer) >= 3


def test_what_is_so_far_already_is_answered_at_once(house: House) -> None:
    session_id = house.start().json()["id"]
    for wanted in ("requested", "unanswered", "refused", "accepted"):
        assert seconds(house.get(f"/v1/sessions/{session_id}", wait=wanted)) < LONG_BEFORE_SECONDS
    assert seconds(house.get(f"/v1/sessions/{session_id}", wait="over", wait_seconds=0)) < LONG_BEFORE_SECONDS
    call_back(house, "siprec-stopped")
    for wanted in ("started", "stopped", "failed", "over"):
        answer = house.get(f"/v1/sessions/{session_id}", wait=wanted)
        assert (answer.json()["state"], seconds(answer) < LONG_BEFORE_SECONDS) == ("stopped", True)


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_refused_session_is_over_until_it_is_asked_for_again(house: House, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(answer=Answer.error(429), drop=frozenset(EVENTS)))
    refused = house.post("/v1/sessions", {"call_sid": "v3:call-1"}, Idempotency_Key="k")
    session_id = refused.json()["session_id"]
    answer = house.get(f"/v1/sessions/{session_id}", wait="started")
    assert (answer.json()["state"], seconds(answer) < LONG_BEFORE_SECONDS) == ("refused", True)
    sandbox.behave(Behaviour(answer=Answer(delay_seconds=2), drop=frozenset(EVENTS)))
    with ThreadPoolExecutor(1) as thread:
        again = thread.submit(house.post, "/v1/sessions", {"call_sid": "v3:call-1"}, Idempotency_Key="k")
        wait_until(lambda: house.session(session_id)["attempts"] == 2)
        answer = house.get(f"/v1/sessions/{session_id}", wait="accepted")
        assert again.result().status_code == 201
    assert answer.json()["state"] == "accepted"


def test_a_start_that_is_refused_as_it_was_before_is_over_again(house: House, sandbox: Sandbox) -> None:
    """Nothing else is known of it than before; but no answer is awaited any more."""
    sandbox.behave(Behaviour(answer=Answer.error(429), drop=frozenset(EVENTS)))
    body = {"call_sid": "v3:call-1"}
    refused = house.post("/v1/sessions", body, Idempotency_Key="k")
    session_id = refused.json()["session_id"]
    slowly = replace(Answer.error(429), delay_seconds=2)
    sandbox.behave(Behaviour(answer=slowly, drop=frozenset(EVENTS)))
    with ThreadPoolExecutor(1) as thread:
        again = thread.submit(house.post, "/v1/sessions", body, Idempotency_Key="k")
        wait_until(lambda: house.session(session_id)["attempts"] == 2)
        answer = house.get(f"/v1/sessions/{session_id}", wait="over")
        assert again.result().status_code == refused.status_code
    assert (answer.json()["state"], seconds(answer) < LONG_BEFORE_SECONDS) == ("refused", True)
    asked, answered = answer.json()["timeline"][-2:]
    assert asked["changes"] == {"attempts": [1, 2]}
    assert (answered["actor"], answered["changes"]) == ("telnyx", {"state": ["refused", "refused"]})


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_session_that_is_merged_into_another_answers_at_once(house: House, sandbox: Sandbox) -> None:
    """Which was adopted, because the URL that it called back to named nobody; then its sid became known."""
    sandbox.behave(Behaviour(answer=Answer(fields={"sid": "the-sid"}), drop=frozenset(EVENTS)))
    body = sandbox.compose(TelnyxSession("account-1", "v3:call-1", "the-sid"), "siprec-started")
    headers = {**sandbox.sign(body), **FORM}
    requests.post(f"{house.web.url}/callbacks/siprec", body, headers=headers, timeout=10)
    [adopted] = [one["id"] for one in house.get("/v1/sessions").json()["sessions"]]
    with waiting(house, adopted, wait="over") as asked:
        session_id = house.start().json()["id"]
        answer = asked.result()
    assert answer.json()["merged_into"] == session_id
    assert seconds(answer) < LONG_BEFORE_SECONDS
    assert seconds(house.get(f"/v1/sessions/{adopted}", wait="over")) < LONG_BEFORE_SECONDS


def test_what_it_may_not_see_it_does_not_wait_for(house: House) -> None:
    session_id = house.start().json()["id"]
    with house.database.begin() as db:
        key = keys.create(db, "limited", datetime.now(UTC), Access(accounts=frozenset({"account-2"})))
    with waiting(house, session_id, key=key, wait="over") as asked:
        answer = asked.result(LONG_BEFORE_SECONDS)
    assert (answer.status_code, answer.json()["title"]) == (404, "Session not found")


def test_a_key_that_is_revoked_meanwhile_opens_nothing_any_more(house: House) -> None:
    session_id = house.start().json()["id"]
    with house.database.begin() as db:
        key = keys.create(db, "leaver", datetime.now(UTC))
    with waiting(house, session_id, key=key, wait="started") as asked:
        with house.database.begin() as db:
            leaver = keys.named(db, "leaver", locks=True)
            assert leaver
            assert ledger_keys.revoke(db, leaver, None, "operator", datetime.now(UTC))
        call_back(house)
        answer = asked.result()
    assert (answer.status_code, answer.json()["title"]) == (401, "API key unknown or revoked")


def test_at_the_end_of_the_process_all_are_answered_at_once(house: House) -> None:
    ids = [house.start(f"v3:{number}").json()["id"] for number in range(10)]
    headers = {"Authorization": f"Bearer {house.key}"}

    def ask(session_id: str) -> requests.Response:
        url = f"{house.web.url}/v1/sessions/{session_id}?wait=over"
        return requests.get(url, headers=headers, timeout=40)

    with ThreadPoolExecutor(len(ids)) as pool:
        asked = [pool.submit(ask, session_id) for session_id in ids]
        time.sleep(1)
        master = psutil.Process(house.web.master_pid)
        master.terminate()
        answers = [one.result() for one in asked]
        assert master.wait(20) == 0
    assert [(one.status_code, one.json()["state"]) for one in answers] == [(200, "accepted")] * len(ids)
    assert max(map(seconds, answers)) < LONG_BEFORE_SECONDS
    assert {one.headers["Connection"] for one in answers} == {"close"}
    assert "Traceback" not in house.web.log


@pytest.mark.parametrize("leaves", ["closes", "resets"])
def test_who_leaves_is_forgotten_at_once(house: House, leaves: str) -> None:
    """Who closes may still read: it is answered, as far as that goes."""
    session_id = house.start().json()["id"]
    line = f'"GET /v1/sessions/{session_id}"'
    with socket.create_connection(house.web.address) as connection:
        connection.sendall(_request(house, session_id))
        time.sleep(REGISTERED_SECONDS)
        assert line not in house.web.log
        if leaves == "resets":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    status = {"closes": 200, "resets": 0}[leaves]
    wait_until(lambda: f"{line} {status} " in house.web.log, LONG_BEFORE_SECONDS)


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_who_sends_no_more_is_answered_with_what_there_is(house: House) -> None:
    session_id = house.start().json()["id"]
    with socket.create_connection(house.web.address, timeout=LONG_BEFORE_SECONDS) as connection:
        connection.sendall(_request(house, session_id))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(12) == b"HTTP/1.1 200"


def _request(house: House, session_id: str) -> bytes:
    key = f"Authorization: Bearer {house.key}"
    return f"GET /v1/sessions/{session_id}?wait=over HTTP/1.1\r\nHost: x\r\n{key}\r\n\r\n".encode()


def test_a_thousand_wait_without_a_thread_or_a_connection(
    house: House, database_kind: str, postgres: Postgres
) -> None:
    """And a callback is answered as ever."""
    house.start()
    ids = _sessions(house, 1000)
    (worker,) = house.web.worker_pids()
    threads = psutil.Process(worker).num_threads()
    with reading(house.web.address, house.key, ids, "started") as readers:
        wait_until(lambda: readers.asked == len(ids))
        house.get("/v1/sessions")
        began = time.monotonic()
        call_back(house)
        assert time.monotonic() - began < 1.5
        assert readers.answered == []
        assert psutil.Process(worker).num_threads() == threads
        if database_kind == "postgresql":
            with psycopg.connect(for_psycopg(postgres.url)) as db:
                query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
                database = urlsplit(house.web.env["DATABASE_URL"]).path[1:]
                [[count]] = db.execute(query, [database]).fetchall()
            assert count <= 10 + 1  # and this test's own
        with house.database.begin() as db:
            db.execute(update(tables.session).where(tables.session.c.id.in_(ids)).values(state=State.STARTED))
            lines.write(db, *ids)
        numbered_at = time.monotonic()
    assert [state for _, state in readers.answered] == ["started"] * len(ids)
    assert max(at for at, _ in readers.answered) - numbered_at < LONG_BEFORE_SECONDS


def _sessions(house: House, count: int) -> list[str]:
    ids, now = [], datetime.now(UTC)
    with house.database.read() as db:
        key = IdempotencyKey(keys.listed(db)[0].id)
    for first in range(0, count, 100):  # a transaction has its time
        with house.database.begin() as db:
            for number in range(first, min(first + 100, count)):
                new = Session(new_id(), Origin.API, Order("account-1", f"call {number}"), now, now)
                assert sessions.insert(db, new, key)
                ids.append(new.id)
    return ids


@pytest.fixture
def frail(tmp_path: Path) -> Iterator[Postgres]:
    with Postgres(own=True) as server:
        yield server


def test_while_the_database_is_away_a_reader_waits_on(frail: Postgres, sandbox: Sandbox) -> None:
    """At the end of its time it is told."""
    with House(migrate(frail.create_database()), sandbox) as house:
        session_id = house.start().json()["id"]
        with (
            waiting(house, session_id, wait="started") as patient,
            waiting(house, session_id, wait="started", wait_seconds=3) as asked,
        ):
            frail.stop("immediate")
            answer = asked.result()
            assert (answer.status_code, answer.json()["title"]) == (503, "Database unavailable")
            assert answer.headers["Retry-After"]
            assert seconds(answer) >= 3
            call_back(house)  # to the spool
            frail.start()
            assert patient.result().json()["state"] == "started"


def test_what_comes_between_the_look_and_the_wait_is_not_missed(
    indoors: Indoors, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = indoors.started()
    # That number, and that tell those who wait.
    workers = [one for one in indoors.context.services.workers if one._name in {"numbering", "tail"}]
    assert len(workers) == 2
    for one in workers:
        one.start()
    last = feed.last
    came: list[int] = []

    def look(db: Any) -> feed.Place:
        seen = last(db)
        if not came:
            with at_once(lambda: indoors.tell("siprec-started")) as told:
                came.append(told.result().status_code)
            time.sleep(0.5)  # it is numbered, and told to nobody
        return seen

    monkeypatch.setattr(feed, "last", look)
    began = time.monotonic()
    answer = indoors.client.get(f"/v1/sessions/{session_id}?wait=started")
    assert (came, answer.json["state"]) == ([200], "started")
    assert time.monotonic() - began < LONG_BEFORE_SECONDS
    for one in workers:
        one.end()
        one.join(5)


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize(
    "query", ["wait=colour", "wait=", "wait_seconds=21", "wait_seconds=-1", "wait_seconds=x"]
)
def test_what_cannot_be_waited_for_is_named(indoors: Indoors, query: str) -> None:
    answer = indoors.client.get(f"/v1/sessions/{indoors.started()}?{query}")
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/" + query.partition("=")[0])


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_the_document_says_what_can_be_waited_for(indoors: Indoors) -> None:
    shown = indoors.stranger.get("/openapi.json").json["paths"]["/v1/sessions/{session_id}"]["get"]
    [schema] = [one["schema"] for one in shown["parameters"] if one["name"] == "wait"]
    assert schema["enum"] == [*State, "over"]
