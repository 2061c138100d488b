"""Answers of Telnyx that wait to be saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.domain import session as domain
from service.domain.access import ALL_ACCOUNTS, Access
from service.domain.ids import new_id
from service.domain.notice import Notice, NoticeKind
from service.domain.session import Origin
from service.domain.start import Order
from service.domain.state import State
from service.ledger import ingest, spool_entry
from service.ledger.spool_entry import UnsavedAnswer
from service.ledger.transaction import Transaction
from service.spool import Spool
from service.store import keys, sessions
from service.store.engine import Database, DatabaseUnavailable, Server, driver
from service.store.sessions import IdempotencyKey
from tests.ledger.desk import Desk, now


def test_an_answer_in_memory_is_saved_even_behind_one_that_cannot_be(database: Database) -> None:
    desk, session_id = Desk(database, spool=None), started(database)
    for each in (new_id(), session_id):  # of the first, the ledger knows nothing
        desk.backlog.save_later(accepted(each))
    assert desk.backlog.is_waiting
    desk.worker.run_once(now())
    assert state(database, session_id) is State.ACCEPTED
    assert not desk.backlog.is_waiting


@pytest.mark.parametrize("has_spool", [True, False], ids=["on disk", "in memory"])
@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_an_answer_that_an_old_primary_took_is_saved_again(
    database: Database, tmp_path: Path, has_spool: bool
) -> None:
    """A connection to it was open still, and what it takes nobody will ever see."""
    desk, session_id = Desk(database, tmp_path if has_spool else None), started(database)
    desk.backlog.save_later(accepted(session_id))
    with leading_to(database, Server("1", 1, now())):
        desk.drain.run()
    assert desk.backlog.is_waiting
    desk.drain.run()
    assert state(database, session_id) is State.ACCEPTED
    assert not desk.backlog.is_waiting


@contextmanager
def leading_to(database: Database, old: Server) -> Iterator[None]:
    """As if the connection of whoever comes next led to `old`."""
    for server in (old, database.current_server()):
        with database.begin() as db:
            driver(db).server = server
        if server is old:
            yield


def started(database: Database) -> str:
    """The id of a session that waits for its answer."""
    moment, order = now(), Order("account-1", "v3:call-1")
    asked = domain.Session(
        new_id(), Origin.API, order, moment, moment, deadline_at=moment + timedelta(minutes=1)
    )
    with database.begin() as db:
        keys.create(db, "an app", moment)
        sessions.insert(db, asked, IdempotencyKey(keys.listed(db)[0].id))
    return asked.id


def accepted(session_id: str) -> UnsavedAnswer:
    answer = Notice(NoticeKind.ACCEPTED, received_at=now(), siprec_sid="sid-1")
    return UnsavedAnswer(session_id, 1, "v3:call-1", answer)


def state(database: Database, session_id: str) -> State:
    with database.read() as db:
        saved = sessions.find(db, session_id, ALL_ACCOUNTS)
    assert saved is not None
    return saved.progress.state


def test_answers_in_memory_go_to_the_disk_at_the_end_if_it_takes_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsaved = accepted(new_id())
    assert desk.spool
    with monkeypatch.context() as patched:
        patched.setattr(desk.spool, "_limit", 0)
        desk.backlog.save_later(unsaved)
        assert desk.depth.entries == 0
    desk.backlog.close()
    (packed,) = Spool.read(desk.spool, desk.spool.files(".spool")[0])
    assert spool_entry.unpack(packed) == unsaved


def test_an_answer_of_which_a_part_is_saved_is_told_and_the_rest_is_saved_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callbacks that came before it come home a few at a time, each few in a transaction."""
    monkeypatch.setattr("service.ledger.transaction.BROUGHT_HOME_AT_ONCE", 1)
    desk.ingest.write([replace(one, verified_by="token") for one in desk.callbacks(3)])
    answer = Notice(NoticeKind.ACCEPTED, received_at=now(), siprec_sid="sid-1")
    monkeypatch.setattr(desk.sessions._telnyx, "start", lambda *_: answer)
    with desk.database.begin() as db:
        keys.create(db, "an app", now())
        key = IdempotencyKey(keys.listed(db)[0].id)
    opened = iter([ingest.open_for_answer])

    def once(*args: Any) -> Transaction:
        try:
            return next(opened)(*args)
        except StopIteration:
            raise DatabaseUnavailable("gone") from None

    app = keys.ApiKey(key.api_key_id, "an app", now(), Access())
    with monkeypatch.context() as patched:
        patched.setattr(ingest, "open_for_answer", once)
        begun = desk.sessions.start(Order("account-1", "v3:call-1"), key, app)
    assert begun.session.progress.siprec_sid == "sid-1"
    assert desk.depth.entries == 1
    desk.drain.run()
    with desk.database.read() as db:
        saved = sessions.find(db, begun.session.id, ALL_ACCOUNTS)
    assert saved is not None
    assert saved.callbacks == 3
