"""The intake: whatever the database does, a callback is durable before it is answered, and counted once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from sqlalchemy import text

from service.domain import session as ledger_session
from service.domain.callback import Callback, Delivery
from service.domain.ids import new_id
from service.domain.session import Notice, NoticeKind, Order, Origin, State
from service.ledger import spool_entry
from service.ledger.backlog import Backlog
from service.ledger.ingest import Ingest
from service.ledger.intake import ANSWER_SECONDS, Intake, NotDurable
from service.ledger.sessions import Sessions
from service.ledger.spool_entry import UnsavedAnswer
from service.sandbox import Behaviour, Sandbox, Session
from service.spool import Spool
from service.store import keys, sessions
from service.store.engine import Database, DatabaseError, DatabaseUnavailable
from service.store.sessions import IdempotencyKey
from service.telnyx.callback import Reader
from service.telnyx.callback_url import CallbackUrls
from service.telnyx.client import Client
from tests.bed.postgres import Postgres
from tests.house import House, migrate, wait_until

LIMIT = 64 * 1024 * 1024


class Desk:
    """An intake on a database, and callbacks to give it."""

    def __init__(self, database: Database, spool: Path | None) -> None:
        self.database = database
        callback_urls = CallbackUrls("https://ledger.example", ["a secret that is long enough for a test"])
        client = Client("http://127.0.0.1:9", "key", 1, _now)
        self.spool = Spool(spool, LIMIT) if spool else None
        self.backlog, deadline = Backlog(self.spool), timedelta(seconds=60)
        self.control = Sessions(
            database, client, callback_urls, _now, deadline, 1, self.backlog.save_later, _nothing
        )
        self.ingest = Ingest(database, _now, _nothing)
        self.intake = Intake(database, self.ingest, self.control, self.spool)
        self._sandbox = Sandbox()
        self._reader = Reader([self._sandbox.public_key], callback_urls, must_be_signed=True)

    def callback(self, sid: str = "sid-1", event: str = "siprec-started", **fields: str | None) -> Callback:
        """Of a session that is adopted when the first of its callbacks comes."""
        body = self._sandbox.compose(Session("account-1", "v3:call-1", sid), event, None, None, **fields)
        headers = self._sandbox.sign(body)
        return self._reader.read(Delivery(new_id(), _now(), "POST", None, b"", headers, body))

    def deliveries(self) -> dict[str, int]:
        """event -> deliveries, over the whole ledger."""
        with self.database.read() as db:
            query = "SELECT event, SUM(deliveries), COUNT(*) FROM report_callbacks_v1 GROUP BY event"
            return {str(row[0]): int(row[1]) for row in db.execute(text(query))}


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(database, tmp_path / "spool")
    made.intake.start()
    yield made
    made.intake.stop()


def _nothing(_: object) -> None:
    """Nobody waits for a change here."""


def _now() -> datetime:
    return datetime.now(UTC)


def timed(keep: Callable[[], None]) -> float:
    began = time.monotonic()
    keep()
    return time.monotonic() - began


def test_callbacks_that_come_at_once_are_all_kept_once(desk: Desk) -> None:
    same = desk.callback(event="siprec-stopped")
    told = [desk.callback(sid=f"sid-{n % 3}", Number=str(n)) for n in range(60)]
    told += [replace(same, delivery=replace(same.delivery, id=new_id())) for _ in range(20)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(desk.intake.keep, told))
    assert desk.deliveries() == {"siprec-started": 60, "siprec-stopped": 20}


def test_one_bad_callback_in_a_batch_harms_no_other_and_is_kept_raw(desk: Desk) -> None:
    good, bad = desk.callback(Number="1"), desk.callback(Number="2")
    unstorable = object() if desk.database.is_sqlite else "\0"
    bad = replace(bad, notice=replace(bad.notice, siprec_sid=unstorable))  # type: ignore[arg-type]
    batch = [good, bad, desk.callback(Number="3")]
    desk.intake._hear(batch, time.monotonic() + 5)
    with desk.database.read() as db:
        rows = db.execute(text("SELECT event, problem FROM report_callbacks_v1 ORDER BY callback_id")).all()
    assert len(rows) == 3
    assert [row.event for row in rows] == ["siprec-started", None, "siprec-started"]
    assert "could not be stored" in rows[1].problem


def test_a_commit_whose_outcome_is_unknown_is_counted_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear = desk.ingest.write

    def hear_and_lose_the_answer(batch: list[Callback], *args: object, **options: object) -> None:
        hear(batch, *args, **options)  # type: ignore[arg-type]
        raise DatabaseUnavailable("the connection broke during COMMIT")

    monkeypatch.setattr(desk.ingest, "write", hear_and_lose_the_answer)
    desk.intake.keep(desk.callback())
    monkeypatch.undo()
    wait_until(lambda: desk.intake.spool_age() is None)
    assert desk.deliveries() == {"siprec-started": 1}


def test_a_surprise_is_told_to_all_who_wait_and_the_next_is_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object, **__: object) -> None:
        time.sleep(0.1)
        raise ZeroDivisionError

    monkeypatch.setattr(desk.ingest, "write", stumble)
    with ThreadPoolExecutor(8) as pool:
        kept = [pool.submit(desk.intake.keep, desk.callback(Number=str(n))) for n in range(8)]
        assert all(isinstance(one.exception(), NotDurable) for one in kept)
    monkeypatch.undo()
    desk.intake.keep(desk.callback())
    assert desk.deliveries() == {"siprec-started": 1}


def test_a_record_that_cannot_be_kept_is_set_aside_and_holds_nobody_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear = desk.ingest.write

    def refuse_some(batch: list[Callback], *args: object, **options: object) -> None:
        if any(told.event == "siprec-failed" for told in batch):
            raise DatabaseError("not this one")
        hear(batch, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(desk.ingest, "write", refuse_some)
    lost = UnsavedAnswer(
        new_id(), 1, "v3:call-1", Notice(NoticeKind.ACCEPTED, received_at=_now(), siprec_sid="sid-1")
    )
    desk.intake._append([b"what is this", spool_entry.pack(lost)])
    for event in ("siprec-started", "siprec-failed", "siprec-stopped"):
        desk.intake._append([spool_entry.pack(desk.callback(event=event))])
    wait_until(lambda: desk.intake.spool_age() is None)
    assert desk.deliveries() == {"siprec-started": 1, "siprec-stopped": 1}
    depth = desk.intake.depth()
    assert depth is not None
    assert depth.set_aside == 3


def test_without_a_spool_a_database_away_is_said_at_once(tmp_path: Path) -> None:
    desk = Desk(Database(f"sqlite:///{tmp_path}/no/such/folder.sqlite3"), spool=None)
    desk.intake.start()
    assert timed(lambda: _refused(desk)) < 0.2
    desk.intake.stop()


def test_an_answer_owed_in_memory_is_written_down_even_behind_one_that_cannot_be(database: Database) -> None:
    desk = Desk(database, spool=None)
    now, order = _now(), Order("account-1", "v3:call-1")
    asked = ledger_session.Session(
        new_id(), Origin.API, order, now, now, deadline_at=now + timedelta(minutes=1)
    )
    with database.begin() as db:
        keys.create(db, "an app", now)
        sessions.insert(db, asked, IdempotencyKey(keys.listed(db)[0].id))
    for session_id in (new_id(), asked.id):  # of the first, the ledger knows nothing
        answer = Notice(NoticeKind.ACCEPTED, received_at=_now(), siprec_sid="sid-1")
        desk.backlog.save_later(UnsavedAnswer(session_id, asked.attempts, order.call_sid, answer))
    desk.backlog.save_pending(desk.control.save_answer)
    with database.read() as db:
        settled = sessions.find(db, asked.id)
    assert settled is not None
    assert settled.progress.state is State.ACCEPTED
    assert not desk.backlog._in_memory


def _refused(desk: Desk) -> None:
    with pytest.raises(NotDurable):
        desk.intake.keep(desk.callback())


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.mark.parametrize("fault", ["stop", "freeze"])
def test_while_postgresql_is_away_callbacks_go_to_the_spool_in_time(
    own_postgres: Postgres, tmp_path: Path, fault: str
) -> None:
    desk = Desk(Database(migrate(own_postgres.create_database())), tmp_path / "spool")
    desk.intake.start()
    desk.intake.keep(desk.callback(Number="0"))
    if fault == "stop":
        own_postgres.stop("immediate")
    else:
        own_postgres.freeze()
    told = [desk.callback(Number=str(n)) for n in range(1, 25)]
    with ThreadPoolExecutor(24) as pool:
        slowest = max(pool.map(lambda one: timed(lambda: desk.intake.keep(one)), told))
    assert slowest < ANSWER_SECONDS
    assert timed(lambda: desk.intake.keep(desk.callback(Number="25"))) < 0.2
    assert desk.intake.is_away
    if fault == "stop":
        own_postgres.start()
    else:
        own_postgres.thaw()
    wait_until(lambda: desk.intake.spool_age() is None)
    assert desk.deliveries() == {"siprec-started": 26}
    desk.intake.stop()
    desk.database.close()


def test_while_sqlite_is_locked_callbacks_go_to_the_spool_in_time(tmp_path: Path) -> None:
    url = migrate(f"sqlite:///{tmp_path}/ledger.sqlite3")
    desk, other = Desk(Database(url), tmp_path / "spool"), Database(url)
    desk.intake.start()
    with other.begin():
        assert timed(lambda: desk.intake.keep(desk.callback(Number="0"))) < ANSWER_SECONDS
        assert timed(lambda: desk.intake.keep(desk.callback(Number="1"))) < ANSWER_SECONDS
    wait_until(lambda: desk.intake.spool_age() is None)
    assert desk.deliveries() == {"siprec-started": 2}
    desk.intake.stop()


def test_a_newcomer_and_the_living_drain_what_a_dead_process_left(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    dead = [Spool(folder, LIMIT) for _ in range(5)]
    for number, spool in enumerate(dead):
        spool.append([spool_entry.pack(desk.callback(Number=f"{number}-{n}")) for n in range(20)])
        spool.close()
    newcomer = Desk(desk.database, folder)
    newcomer.intake.start()
    wait_until(lambda: desk.intake.spool_age() is None)
    assert desk.deliveries() == {"siprec-started": 100}
    newcomer.intake.stop()


# Over HTTP


def test_while_the_database_is_away_callbacks_are_answered_200_and_reads_503(
    own_postgres: Postgres, sandbox: Sandbox
) -> None:
    sandbox.behave(Behaviour(drop=frozenset({"siprec-started"})))
    url = migrate(own_postgres.create_database())
    with House(url, sandbox) as house:
        session = house.start().json()
        own_postgres.stop("immediate")
        for number in range(3):
            body = sandbox.compose(session["siprec_sid"], "siprec-started", Number=str(number))
            kept = requests.post(
                house.callback_url(), data=body, headers=sandbox.sign(body), timeout=ANSWER_SECONDS
            )
            assert kept.status_code == 200
        away = house.get(f"/v1/sessions/{session['id']}")
        assert (away.status_code, away.headers["Retry-After"]) == (503, "5")
        assert float(away.headers["Ledger-Spool-Age"]) >= 0
        ready = house.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["database"]["reachable"] is False
        assert ready.json()["spool"]["entries"] == 3
        house.web.kill_master()
        own_postgres.start()
        house.web.start()  # drains what its dead predecessor left
        told = house.wait_for(session["id"], "started")
        assert len(house.callbacks(told["id"])) == 3
        wait_until(lambda: house.get("/readyz").json()["spool"]["entries"] == 0)
        assert "Ledger-Spool-Age" not in house.get("/v1/sessions").headers


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_four_processes_with_eight_threads_do_not_deadlock(database_url: str, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(drop=frozenset({"siprec-started"})))
    with House(database_url, sandbox, workers=4, THREADS="8") as house:
        told = [house.start(f"v3:{n}").json() for n in range(6)]
        bodies = [
            (house.callback_url(session["call_sid"]), sandbox.compose(session["siprec_sid"], event, N=str(n)))
            for n in range(20)
            for session in told
            for event in ("siprec-started", "siprec-stopped")
        ]
        adopted = [
            (
                f"{house.web.url}/callbacks/siprec",
                sandbox.compose(Session("a", "c", f"s{n % 3}"), "siprec-started", N=str(n)),
            )
            for n in range(60)
        ]
        mixed = [pair for both in zip(bodies, adopted * 4, strict=True) for pair in both]
        with ThreadPoolExecutor(32) as pool:
            statuses = list(pool.map(lambda one: _post(one[0], one[1], sandbox), mixed))
        assert set(statuses) == {200}
        wait_until(lambda: house.get("/readyz").json()["spool"]["entries"] == 0)
        for session in told:
            assert house.session(session["id"])["state"] == "stopped"
            assert len(house.callbacks(session["id"])) == 40
        assert "deadlock" not in house.web.log.lower()


def _post(url: str, body: bytes, sandbox: Sandbox) -> int:
    return requests.post(url, data=body, headers=sandbox.sign(body), timeout=30).status_code


def test_a_spool_that_cannot_be_written_to_stops_the_start(
    database_url: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    house = House(database_url, sandbox, SPOOL_DIR=str(tmp_path / "file" / "spool"))
    with pytest.raises(Exception, match="the spool cannot be used"):
        house.web.start()
    house.close()


def test_sigterm_in_full_flow_keeps_what_it_answers(build: Callable[..., House], sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(drop=frozenset({"siprec-started"})))
    house = build()
    sid, url = house.start().json()["siprec_sid"], house.callback_url()
    answered: list[str] = []

    def send(number: int) -> None:
        body = sandbox.compose(sid, "siprec-started", N=str(number))
        try:
            if requests.post(url, data=body, headers=sandbox.sign(body), timeout=10).status_code == 200:
                answered.append(str(number))
        except requests.RequestException:
            pass

    with ThreadPoolExecutor(8) as pool:
        sending = [pool.submit(send, number) for number in range(300)]
        wait_until(lambda: len(answered) > 50)
        house.web.stop()
        for one in sending:
            one.result()
    house.web.start()
    kept = house.callbacks(house.get("/v1/sessions").json()["sessions"][0]["id"])
    numbers = {dict(map(tuple, callback["fields"]))["N"] for callback in kept}
    assert set(answered) <= numbers
    assert len(answered) < 300
