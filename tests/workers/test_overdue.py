"""The worker that finds what is overdue decides nothing for want of what its own process has to say."""

from __future__ import annotations

from datetime import timedelta

from service.domain.overdue import Call
from service.store.engine import Database
from service.workers.asking import Asking, Budget
from service.workers.overdue import Overdue
from tests.ledger.desk import now
from tests.ledger.test_watch import accepted
from tests.ledger.tower import Tower


def unasked(account_sid: str, call_sid: str) -> Call:
    raise AssertionError(f"asked for {call_sid} of {account_sid}")


def test_nothing_is_decided_before_it_was_told_when_its_process_was_blind(database: Database) -> None:
    tower, session_id = Tower(database), accepted(database)
    tower.follow()
    tower.pass_time(timedelta(seconds=20))
    is_told = False
    asking = Asking(unasked, lambda _: True, Budget(60), is_on=False)
    worker = Overdue(database, tower.watch, asking, lambda: False, lambda: is_told)
    worker.run_once(now())
    assert tower.watched(session_id).overdue is None
    is_told = True
    worker.run_once(now())
    assert tower.watched(session_id).overdue is not None
