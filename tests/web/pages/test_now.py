"""What the page Now says, and never says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from service.ledger.alerts import Evaluation
from service.store import processes
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
