"""While the database takes some statements and not those of a callback, all that waits goes on waiting."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from sqlalchemy import text

from service.store.engine import DatabaseError
from tests.ledger.desk import Desk, again, now
from tests.ledger.draining import spooled

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"])

REFUSAL = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'it takes no more' USING ERRCODE = '{code}'; END$$;
CREATE TRIGGER refusal BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()"""


@pytest.mark.parametrize("table", ["callback", "callback_repeat"])
@pytest.mark.parametrize("code", ["53100", "42501", "XX000"])
def test_what_was_committed_before_an_outage_accuses_nothing_that_waits(
    desk: Desk, code: str, table: str
) -> None:
    """To pass over what is stored already, the database has to insert nothing."""
    first, held = desk.callback("sid-1"), desk.callback("sid-2")
    desk.ingest.write([held])
    waits = again(held, 1)[0] if table == "callback_repeat" else desk.callback("sid-2", Number="2")
    spooled(desk, first, waits)
    with desk.database.begin() as db:
        db.execute(text("SELECT 1 FROM session WHERE call_sid = 'v3:call-1' FOR UPDATE"))
        desk.drain.run()
    assert desk.depth.entries == 2
    with desk.database.begin() as db:
        db.execute(text(REFUSAL.format(code=code, table=table)))
    for _ in range(8):
        with suppress(DatabaseError):
            desk.worker.run_once(now())
        time.sleep(0.3)
    assert desk.backlog.dead_letters() == []
    assert not desk.database.breaker.takes_writes
    with desk.database.begin(is_probe=True) as db:
        db.execute(text(f"DROP TRIGGER refusal ON {table}"))
    desk.drain.run()
    assert desk.deliveries() == {"siprec-started": 3}


def test_what_always_takes_too_long_in_silence_becomes_a_dead_letter(desk: Desk) -> None:
    """Else it would keep everybody from writing for ever."""
    spooled(desk, desk.callback(event="siprec-endless"))
    with desk.database.begin() as db:
        db.execute(text(REFUSAL.format(code="57014", table="callback")))
        db.execute(text("DROP TRIGGER refusal ON callback"))
        db.execute(
            text(
                "CREATE TRIGGER refusal BEFORE INSERT ON callback FOR EACH ROW"
                " WHEN (NEW.event = 'siprec-endless') EXECUTE FUNCTION refuse()"
            )
        )
    until = time.monotonic() + 20
    while time.monotonic() < until and not desk.backlog.dead_letters():
        with suppress(DatabaseError):
            desk.worker.run_once(now())
        time.sleep(0.1)
    assert len(desk.backlog.dead_letters()) == 1
    time.sleep(2)
    desk.worker.run_once(now())
    assert desk.database.breaker.takes_writes
