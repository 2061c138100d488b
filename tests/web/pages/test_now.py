"""What the page Now says, and never says."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, event, insert, update

from service.domain.access import Access
from service.domain.callback import Delivery
from service.domain.ids import new_id, period_at
from service.ledger.alerts import Evaluation
from service.store import processes
from service.store.errors import Outage
from service.store.tables import callback, process
from service.store.watch_tables import answer_count, spool
from service.web.pages import figures
from tests.ledger.watching import add_session, overdue
from tests.web.indoors import Indoors
from tests.web.pages.visitor import Visitor


@pytest.fixture
def visitor(indoors: Indoors) -> Visitor:
    found = Visitor(indoors)
    found.log_in(indoors.key)
    with indoors.context.database.begin() as db:
        at = datetime.now(UTC)
        db.execute(insert(process).values(id="1", host="host-a", started_at=at, alive_at=at))
    return found


def test_it_says_that_all_is_well(visitor: Visitor) -> None:
    page = visitor.get("/").text
    assert "All is well." in page
    assert "They agree." in page


def test_it_is_never_well_while_a_spool_drains(visitor: Visitor, indoors: Indoors) -> None:
    with indoors.context.database.begin() as db:
        waiting = {"id": "1", "host": "host-b", "seen_at": datetime.now(UTC), "entries": 3, "dead_letters": 0}
        db.execute(insert(spool).values(waiting))
    page = visitor.get("/").text
    assert "3 entries wait in the spool on host-b." in page
    assert "<b>3</b> answered 200</span><span><b>0</b> shown" in page
    assert "All is well." not in page


def test_it_is_never_well_while_a_live_call_is_overdue(visitor: Visitor, indoors: Indoors) -> None:
    with indoors.context.database.begin() as db:
        overdue(db, add_session(db), "stopped_early", "Nobody asked for it.", call_status="in-progress")
    page = visitor.get("/").text
    assert "1 call is live and probably not recorded." in page
    assert "Nobody asked for it." in page
    assert "All is well." not in page


def test_an_alert_says_what_is_wrong_and_what_to_do(visitor: Visitor, indoors: Indoors) -> None:
    with indoors.context.database.begin() as db:
        overdue(db, add_session(db), "not_started", call_status="in-progress")
        now = processes.now_of(db)
    Evaluation(indoors.context.database, sends=False).run(now)
    page = visitor.get("/").text
    assert "The call goes on, and is probably not recorded · recorder-1" in page
    assert "Check the recorder and its network now." in page


def test_the_two_numbers_agree_once_a_callback_is_stored(visitor: Visitor, indoors: Indoors) -> None:
    indoors.started()
    assert indoors.tell("siprec-started").status_code == 200
    assert "<b>1</b> answered 200</span><span><b>1</b> shown" in visitor.get("/").text


def test_it_says_that_the_database_takes_no_writes_and_misses_no_heartbeats_then(
    visitor: Visitor, indoors: Indoors
) -> None:
    with indoors.context.database.begin() as db:
        db.execute(update(process).values(alive_at=datetime.now(UTC) - timedelta(seconds=40)))
    assert "No process of the service has been seen for 15 s" in visitor.get("/").text
    indoors.context.database.breaker.failed(Outage.WRITES, "it is locked")
    page = visitor.get("/").text
    assert "The database takes no writes." in page
    assert "No process of the service has been seen" not in page
    assert "All is well." not in page


def test_what_drains_while_the_page_is_made_is_neither_missed_nor_counted_twice(
    furnish: Callable[..., Indoors], tmp_path: Path
) -> None:
    indoors = furnish(SPOOL="on", SPOOL_DIR=tmp_path / "spool")
    indoors.stop_draining()
    visitor = Visitor(indoors)
    visitor.log_in(indoors.key)
    session_id = indoors.started()
    services, engine = indoors.context.services, indoors.context.database.engine
    body = indoors.sandbox.compose(indoors.sid(), "siprec-started")
    token = indoors.callback_path().rpartition("/")[2]
    headers = indoors.sandbox.sign(body)
    came = Delivery(new_id(), datetime.now(UTC), "POST", token, b"", headers, body)
    services.backlog.save([services.reader.read(came)])
    drained: list[int] = []

    def drain(_db: object, _cursor: object, statement: str, *_: object) -> None:
        if "session_watch" in statement and not drained:  # the page sees the state of before from here on
            drained.append(0)
            drained[0] = services.drain.run()

    event.listen(engine, "after_cursor_execute", drain)
    page = visitor.get("/").text
    event.remove(engine, "after_cursor_execute", drain)
    assert drained == [1]
    assert indoors.session(session_id)["state"] == "started"
    assert "<b>1</b> answered 200</span><span><b>1</b> shown" in page


def test_they_differ_once_a_stored_callback_is_gone(visitor: Visitor, indoors: Indoors) -> None:
    """Deleted behind the service's back. Whether it waits on a disk is not known for a minute or two."""
    indoors.started()
    assert indoors.tell("siprec-started").status_code == 200
    indoors.context.services.heartbeat.beat(datetime.now(UTC))
    with indoors.context.database.begin() as db:
        assert db.execute(delete(callback)).rowcount == 1
    page = visitor.get("/").text
    assert "<b>1</b> answered 200</span><span><b>0</b> shown" in page
    assert "1 is not shown yet" in page
    assert "They agree." not in page

    with indoors.context.database.begin() as db:
        then = period_at(datetime.now(UTC) - timedelta(minutes=10))
        db.execute(update(answer_count).values(period=then))
    page = visitor.get("/").text
    assert "<b>1</b> answered 200</span><span><b>0</b> shown" in page
    assert "1 callback is missing: answered 200, and not stored." in page
    assert "All is well." not in page


def test_a_key_of_some_accounts_is_shown_no_host(visitor: Visitor, indoors: Indoors) -> None:
    waiting = {"host": "host-b", "seen_at": datetime.now(UTC), "entries": 3, "dead_letters": 0}
    gone = datetime.now(UTC) - timedelta(minutes=2)
    with indoors.context.database.begin() as db:
        db.execute(insert(spool).values(waiting | {"id": "1"}))
        db.execute(insert(process).values(id="2", host="host-c", started_at=gone, alive_at=gone))
    assert "host-b" in visitor.get("/").text
    assert "host-c" in visitor.get("/").text
    limited = Visitor(indoors)
    limited.log_in(indoors.new_key("limited", Access(accounts=frozenset({"account-1"}))))
    page = limited.get("/").text
    assert not re.search("host-[abc]", page)
    assert "All is well." not in page
    assert "Callbacks may wait on a disk" in page
    assert "1 process vanished." in page
    assert "<b>0</b> shown" in page


def test_whoever_may_see_the_same_is_shown_one_answer_for_some_seconds(
    visitor: Visitor, indoors: Indoors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "KEPT_SECONDS", 1000.0)
    limited = Visitor(indoors)
    limited.log_in(indoors.new_key("limited", Access(accounts=frozenset({"another"}))))
    assert "<b>0</b> shown" in visitor.get("/").text
    indoors.started()
    indoors.tell("siprec-started")
    assert "<b>0</b> shown" in visitor.get("/").text
    assert "<b>0</b> shown" in limited.get("/").text
    limited_too = Visitor(indoors)
    limited_too.log_in(indoors.new_key("too", Access(accounts=frozenset({"account-1"}))))
    assert "<b>1</b> shown" in limited_too.get("/").text
    monkeypatch.setattr(figures, "KEPT_SECONDS", 0.0)
    assert "<b>1</b> shown" in visitor.get("/").text
