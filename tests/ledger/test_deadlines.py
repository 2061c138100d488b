"""Overdue sessions become unanswered, and callbacks get their turn meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from unittest.mock import Mock

import pytest

from service.domain.ids import new_id
from service.domain.session import Origin, Session
from service.domain.start import Order
from service.ledger.deadlines import expire_overdue
from service.store import keys, sessions
from service.store.engine import Database
from service.store.sessions import IdempotencyKey
from tests.ledger.desk import nothing, now


def test_no_transaction_expires_many(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite callbacks wait meanwhile."""
    asked_at = now() - timedelta(minutes=2)
    with database.begin() as db:
        keys.create(db, "an app", asked_at)
        key = IdempotencyKey(keys.listed(db)[0].id)
        for number in range(100):
            order = Order("account-1", f"v3:call-{number}")
            asked = Session(new_id(), Origin.API, order, requested_at=asked_at, updated_at=asked_at)
            sessions.insert(db, replace(asked, deadline_at=asked_at + timedelta(minutes=1)), key)
    begin = Mock(wraps=database.begin)
    monkeypatch.setattr(database, "begin", begin)
    assert expire_overdue(database, now(), nothing) == 100
    assert begin.call_count == 5
    assert expire_overdue(database, now(), nothing) == 0
