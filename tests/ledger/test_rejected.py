"""What was rejected is stored in its own time, and can be judged again once a wrong setting is right."""

from __future__ import annotations

import base64
import json
import logging
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Connection, text

from service.domain.callback import Delivery
from service.domain.ids import new_id
from service.ledger import rejected as rejected_deliveries
from service.ledger.rejected import RejectedQueue, Retried
from service.log_lines import fields_of
from service.sandbox import Behaviour, Sandbox
from service.store import rejected
from service.store.engine import Database, DatabaseUnavailable, RecordRefused
from service.store.rejected import RejectedDelivery
from tests.bed import processes
from tests.house import House, wait_until
from tests.ledger.desk import Desk, lose, now, regain

REASON = "the signature does not fit"


def delivery(body: bytes = b"AccountSid=account-1&CallSid=v3%3Acall-1", **fields: Any) -> Delivery:
    return Delivery(new_id(), now(), "POST", None, b"", {}, body, **fields)


def stored(database: Database) -> list[RejectedDelivery]:
    with database.read() as db:
        return rejected.newest(db, 1000)


def test_what_is_offered_is_stored_with_what_it_claims(database: Database) -> None:
    queue = RejectedQueue(database)
    offered = [delivery(peer="192.0.2.1"), delivery(b"CallSid=" + b"c" * 300), delivery(b"\0%ff=&&")]
    for one in offered:
        queue.offer(one, REASON, 403)
    queue.write(now())
    found = {one.delivery_id: one for one in stored(database)}
    first, cut, garbled = (found[one.id] for one in offered)
    assert (first.account_sid, first.call_sid, first.peer) == ("account-1", "v3:call-1", "192.0.2.1")
    assert cut.call_sid == "c" * 255
    assert garbled.body == b"\0%ff=&&"
    assert queue.stored == 3


def test_what_waits_in_memory_is_bounded_and_what_is_dropped_is_told_once_a_minute(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rejected_deliveries, "LARGEST_IN_MEMORY", 100_000)
    queue, moment = RejectedQueue(database), now()
    for _ in range(20):
        queue.offer(delivery(b"x" * 10_000), REASON, 403)
    with caplog.at_level(logging.ERROR):
        queue.write(moment)
        assert len(stored(database)) == 9
        for seconds in (1, 59, 61):
            for _ in range(10):
                queue.offer(delivery(b"x" * 10_000), REASON, 403)
            queue.write(moment + timedelta(seconds=seconds))
    dropped = [fields_of(record) for record in caplog.records if "no room" in record.message]
    assert dropped == [{"count": 11}, {"count": 3}]


def test_while_the_database_takes_no_writes_they_wait_in_memory(database: Database) -> None:
    queue = RejectedQueue(database)
    queue.offer(delivery(), REASON, 403)
    lose(database, "a failover")
    queue.write(now())
    assert stored(database) == []
    regain(database)
    queue.write(now())
    assert len(stored(database)) == 1


def test_offering_waits_for_nothing(database: Database) -> None:
    queue = RejectedQueue(database)
    with database.begin():  # on SQLite, nobody else writes
        writing = threading.Thread(target=_write_in_spite, args=(queue,))
        queue.offer(delivery(), REASON, 403)
        writing.start()
        began = time.monotonic()
        for _ in range(100):
            queue.offer(delivery(), REASON, 403)
        assert time.monotonic() - began < 0.5
    writing.join()
    queue.write(now())
    queue.flush(5)
    assert len(stored(database)) == 101


def test_offering_does_not_wait_while_a_batch_is_put_together(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, size, here = RejectedQueue(database), rejected_deliveries._size, threading.current_thread()
    taking = threading.Event()

    def take_long(one: RejectedDelivery) -> int:
        if threading.current_thread() is not here:
            taking.set()
            time.sleep(0.02)
        return size(one)

    monkeypatch.setattr(rejected_deliveries, "_size", take_long)
    for _ in range(20):
        queue.offer(delivery(), REASON, 403)
    storing = threading.Thread(target=queue.flush, args=(20,))
    storing.start()
    assert taking.wait(5)
    began = time.monotonic()
    queue.offer(delivery(), REASON, 403)
    assert time.monotonic() - began < 0.2
    storing.join()
    queue.flush(5)
    assert len(stored(database)) == 21


def test_forgers_have_no_long_forms_parsed(database: Database) -> None:
    queue = RejectedQueue(database)
    queue.offer(delivery(b"AccountSid=account-1&" + b"a&" * 2048), REASON, 403)
    queue.offer(delivery(b"AccountSid=account-1&" + b"a&" * 1024), REASON, 403)
    queue.write(now())
    assert [one.account_sid for one in stored(database)] == ["account-1", None]


def fail_alone(monkeypatch: pytest.MonkeyPatch, failures: dict[str, Exception]) -> None:
    """A batch is refused; by itself a delivery fails as `failures` say by its id, once."""
    add = rejected.add

    def add_or_fail(db: Connection, new: Sequence[RejectedDelivery]) -> None:
        if len(new) > 1:
            raise RecordRefused("one of them")
        if error := failures.pop(new[0].delivery_id, None):
            raise error
        add(db, new)

    monkeypatch.setattr(rejected, "add", add_or_fail)


def test_what_is_stored_one_by_one_is_stored_once_though_the_database_goes_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, offered = RejectedQueue(database), [delivery() for _ in range(5)]
    for one in offered:
        queue.offer(one, REASON, 403)
    refused, away = offered[1].id, offered[3].id
    fail_alone(monkeypatch, {refused: RecordRefused("no"), away: DatabaseUnavailable("a failover")})
    with pytest.raises(DatabaseUnavailable):
        queue.write(now())
    assert [one.delivery_id for one in reversed(stored(database))] == [offered[0].id, offered[2].id]
    queue.write(now())
    kept = [one.id for one in offered if one.id != refused]
    assert [one.delivery_id for one in reversed(stored(database))] == kept
    assert queue._offered == queue._taken


def test_what_an_unforeseen_error_drops_is_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue, offered = RejectedQueue(database), [delivery() for _ in range(5)]
    for one in offered:
        queue.offer(one, REASON, 403)
    fail_alone(monkeypatch, {offered[2].id: ZeroDivisionError()})
    with pytest.raises(ZeroDivisionError):
        queue.write(now())
    queue.write(now())
    assert len(stored(database)) == 2
    assert "rejected callbacks dropped" in caplog.text


def test_what_is_being_stored_does_not_hold_up_the_end(database: Database) -> None:
    queue = RejectedQueue(database)
    queue.offer(delivery(), REASON, 403)
    with queue._writing:
        began = time.monotonic()
        queue.flush(0.2)
        assert time.monotonic() - began < 1


def _write_in_spite(queue: RejectedQueue) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rejected_deliveries, "WRITE_SECONDS", 10.0)
        queue.write(now())


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_on_sqlite_no_transaction_takes_long(database: Database) -> None:
    """Callbacks wait meanwhile."""
    queue, held, begin = RejectedQueue(database), [], database.begin

    @contextmanager
    def timed(*args: Any, **options: Any) -> Iterator[Any]:
        with begin(*args, **options) as db:
            began = time.thread_time()  # other programs may run meanwhile
            yield db
        held.append(time.thread_time() - began)

    database.begin = timed  # type: ignore[method-assign]
    for size in [500] * 400 + [200_000] * 10:
        queue.offer(delivery(b"x" * size), REASON, 403)
    queue.write(now())
    queue.flush(10)
    assert len(held) >= 10
    assert statistics.median(held) < 0.1, held


def test_what_the_database_refuses_does_not_keep_the_others_from_being_judged(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(database, tmp_path / "spool")
    whole, raw, hopeless, last = desk.callbacks(4)
    odd = {
        raw.delivery.id: replace(raw, notice=replace(raw.notice, time_is_plausible=None)),  # type: ignore[arg-type]
        hopeless.delivery.id: replace(hopeless, verified_by=None),  # type: ignore[arg-type]
    }
    queue, read = RejectedQueue(database), desk.reader.read
    for one in (whole, raw, hopeless, last):
        queue.offer(one.delivery, REASON, 403)
    queue.write(now())
    monkeypatch.setattr(desk.reader, "read", lambda came: odd.get(came.id) or read(came))
    retried = rejected_deliveries.retry(database, desk.ingest, desk.reader)
    assert retried == Retried(stored=3, rejected=0, refused=1)
    assert [one.delivery_id for one in stored(database)] == [hopeless.delivery.id]
    with database.read() as db:
        events = db.execute(text("SELECT event FROM report_callbacks_v1")).scalars().all()
    assert sorted(events, key=str) == [None, "siprec-started", "siprec-started"]


# Over HTTP


def retry(house: House) -> str:
    return ledger(house, "callbacks", "retry").strip()


def ledger(house: House, *command: str) -> str:
    return processes.run_ledger(house.web.env, *command)


def test_it_is_shown_where_a_forged_callback_came_from(build: Callable[..., House]) -> None:
    house = build()
    forged = requests.post(f"{house.web.url}/callbacks/siprec", data=b"a=b", timeout=10)
    assert forged.status_code == 403
    wait_until(lambda: len(stored(house.database)) == 1)
    (line,) = ledger(house, "callbacks", "rejected").splitlines()
    assert json.loads(line)["peer"] == "127.0.0.1"


def test_after_a_wrong_key_was_put_right_nothing_is_lost(
    build: Callable[..., House], sandbox: Sandbox
) -> None:
    sandbox.behave(Behaviour(drop=frozenset({"siprec-started", "siprec-stopped"})))
    wrong_key = base64.b64encode(b"not Telnyx's key, but 32 bytes !").decode()
    house = build(TELNYX_PUBLIC_KEY=wrong_key)
    session = house.start().json()
    for event, more in (("siprec-stopped", "x" * 17_000), ("siprec-started", "x")):
        body = sandbox.compose(session["siprec_sid"], event, More=more)
        answered = requests.post(house.callback_url(), data=body, headers=sandbox.sign(body), timeout=10)
        assert answered.status_code == 403
    forged = {"telnyx-timestamp": "1", "telnyx-signature-ed25519": base64.b64encode(b"x" * 64).decode()}
    assert requests.post(house.callback_url(), data=b"a=b", headers=forged, timeout=10).status_code == 403
    wait_until(lambda: house.get("/readyz").json()["rejected"] == 3)
    assert len(ledger(house, "callbacks", "rejected").splitlines()) == 3
    assert retry(house) == "stored: 0, still rejected: 3, refused by the database: 0"

    house.web.env["TELNYX_PUBLIC_KEY"] = sandbox.public_key
    assert retry(house) == "stored: 2, still rejected: 1, refused by the database: 0"
    assert house.session(session["id"])["state"] == "stopped"
    assert [callback["deliveries"] for callback in house.callbacks(session["id"])] == [1, 1]
    assert retry(house) == "stored: 0, still rejected: 1, refused by the database: 0"
    wait_until(lambda: house.get("/readyz").json()["rejected"] == 1)


def test_forgers_do_not_stand_in_the_way_of_genuine_callbacks(
    build: Callable[..., House], sandbox: Sandbox
) -> None:
    """100 genuine ones a second, beside 64 who forge as fast as they are answered."""
    sandbox.behave(Behaviour(drop=frozenset({"siprec-started"})))
    house = build()
    sid, url = house.start().json()["siprec_sid"], house.callback_url()
    forged = {"telnyx-timestamp": "1", "telnyx-signature-ed25519": base64.b64encode(b"x" * 64).decode()}
    is_over = threading.Event()
    statuses: list[int] = []

    def forge() -> None:
        with requests.Session() as http:
            while not is_over.is_set():
                assert http.post(url, data=b"a=b", headers=forged, timeout=10).status_code == 403

    with ThreadPoolExecutor(64) as forgers:
        forging = [forgers.submit(forge) for _ in range(64)]
        with requests.Session() as http:
            for number in range(100):
                body = sandbox.compose(sid, "siprec-started", N=str(number))
                statuses.append(http.post(url, data=body, headers=sandbox.sign(body), timeout=10).status_code)
        is_over.set()
        for one in forging:
            one.result()
    assert set(statuses) == {200}
    assert house.session(house.get("/v1/sessions").json()["sessions"][0]["id"])["state"] == "started"
