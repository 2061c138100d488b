"""Answers of Telnyx that wait to be saved."""

from __future__ import annotations

from datetime import timedelta

import pytest

from service.domain import session as domain
from service.domain.ids import new_id
from service.domain.session import Notice, NoticeKind, Order, Origin, State
from service.ledger import spool_entry
from service.ledger.spool_entry import UnsavedAnswer
from service.spool import Spool
from service.store import keys, sessions
from service.store.engine import Database
from service.store.sessions import IdempotencyKey
from tests.ledger.desk import Desk, now


def test_an_answer_in_memory_is_saved_even_behind_one_that_cannot_be(database: Database) -> None:
    desk, moment = Desk(database, spool=None), now()
    order = Order("account-1", "v3:call-1")
    asked = domain.Session(
        new_id(), Origin.API, order, moment, moment, deadline_at=moment + timedelta(minutes=1)
    )
    with database.begin() as db:
        keys.create(db, "an app", moment)
        sessions.insert(db, asked, IdempotencyKey(keys.listed(db)[0].id))
    for session_id in (new_id(), asked.id):  # of the first, the ledger knows nothing
        answer = Notice(NoticeKind.ACCEPTED, received_at=now(), siprec_sid="sid-1")
        desk.backlog.save_later(UnsavedAnswer(session_id, asked.attempts, order.call_sid, answer))
    assert desk.backlog.is_waiting
    desk.worker.run_once(now())
    with database.read() as db:
        saved = sessions.find(db, asked.id)
    assert saved is not None
    assert saved.progress.state is State.ACCEPTED
    assert not desk.backlog.is_waiting


def test_answers_in_memory_go_to_the_disk_at_the_end_if_it_takes_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Notice(NoticeKind.ACCEPTED, received_at=now(), siprec_sid="sid-1")
    unsaved = UnsavedAnswer(new_id(), 1, "v3:call-1", answer)
    assert desk.spool
    with monkeypatch.context() as patched:
        patched.setattr(desk.spool, "_limit", 0)
        desk.backlog.save_later(unsaved)
        assert desk.depth.entries == 0
    desk.backlog.close()
    (packed,) = Spool.read(desk.spool, desk.spool.files(".spool")[0])
    assert spool_entry.unpack(packed) == unsaved
