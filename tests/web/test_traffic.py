"""Time limits hold for every connection, whatever goes wrong with another."""

from __future__ import annotations

import asyncio

import pytest

from service.web import traffic
from service.web.traffic import Traffic


class Peer:
    def __init__(self, *, fails: bool = False) -> None:
        self._fails = fails
        self.is_timed_out = False
        self.is_aborted = False

    def time_out(self) -> None:
        self._fail()
        self.is_timed_out = True

    def abort(self) -> None:
        self._fail()
        self.is_aborted = True

    def held(self) -> int:
        return 0

    def unread(self) -> int:
        return 1

    def _fail(self) -> None:
        if self._fails:
            raise RuntimeError("the transport is in an odd state")


def test_one_that_cannot_be_closed_keeps_no_other_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for limit in ("RECEIVE_SECONDS", "SEND_SECONDS", "SWEEP_SECONDS"):
        monkeypatch.setattr(traffic, limit, 0.01)
    slow = [Peer(fails=True), Peer()]
    slow_readers = [Peer(fails=True), Peer()]
    later = Peer()

    async def come() -> None:
        swept = Traffic()
        for peer in slow:
            swept.receives(peer)
        for peer in slow_readers:
            swept.is_stuck(peer)
        await asyncio.sleep(0.1)
        swept.receives(later)
        await asyncio.sleep(0.1)

    asyncio.run(come())
    assert slow[1].is_timed_out
    assert slow_readers[1].is_aborted
    assert later.is_timed_out
    assert caplog.text.count("connection could not be closed") == 2
