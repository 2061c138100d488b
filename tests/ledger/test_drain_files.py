"""What became of a spool file's entries is remembered while the file is there."""

from __future__ import annotations

import pytest

from service.domain.callback import Callback
from service.ledger import drain
from service.store.engine import DatabaseConflict, Server
from tests.ledger.desk import Desk, now
from tests.ledger.draining import Fails, failing, rounds, spooled


def locked(callback: Callback, tried: list[str]) -> Fails:
    """Somebody else has the row of this one locked; `tried` are the deliveries that were written."""

    def fails(batch: list[Callback]) -> Exception | None:
        ids = [one.delivery.id for one in batch]
        tried.extend(ids)
        return DatabaseConflict("locked") if callback.delivery.id in ids else None

    return fails


def test_what_was_committed_is_not_written_again_in_the_next_round(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    callbacks, tried = desk.callbacks(200), list[str]()
    spooled(desk, *callbacks)
    with failing(desk, locked(callbacks[198], tried), monkeypatch):
        rounds(desk, 1)
        tried.clear()
        rounds(desk, 1)
    assert callbacks[198].delivery.id in tried
    assert len(tried) <= 16
    rounds(desk, 1)
    assert desk.deliveries() == {"siprec-started": 200}
    assert desk.is_drained()


def test_what_another_primary_committed_is_written_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    callbacks, tried = desk.callbacks(20), list[str]()
    spooled(desk, *callbacks)
    primary = Server("1", 1, now())
    write = desk.ingest.write

    def on_the_primary(*args: object, **options: object) -> Server:
        write(*args, **options)  # type: ignore[arg-type]
        return primary

    monkeypatch.setattr(desk.ingest, "write", on_the_primary)
    monkeypatch.setattr(desk.database, "current_server", lambda: primary)
    with failing(desk, locked(callbacks[19], tried), monkeypatch):
        rounds(desk, 1)
        primary = Server("1", 2, now())
        tried.clear()
        rounds(desk, 1)
        assert set(tried) == {callback.delivery.id for callback in callbacks}
    rounds(desk, 1)
    assert desk.is_drained()


def test_what_does_not_fit_into_memory_is_written_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "MOST_REMEMBERED", 10)
    callbacks, tried = desk.callbacks(100), list[str]()
    spooled(desk, *callbacks)
    with failing(desk, locked(callbacks[99], tried), monkeypatch):
        rounds(desk, 3)
    assert not desk.is_drained()
    rounds(desk, 1)
    assert desk.deliveries() == {"siprec-started": 100}
    assert desk.is_drained()
