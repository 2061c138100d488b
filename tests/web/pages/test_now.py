"""What the page Now says, and never says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, insert, update

from service.domain.callback import Delivery
from service.domain.ids import new_id
from service.ledger.alerts import Evaluation
from service.store import processes
from service.store.errors import Outage
from service.store.tables import process
from service.store.watch_tables import spool
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
