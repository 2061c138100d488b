"""Callbacks that are held come later, in their order; a recording may break off while its call goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from service.sandbox import Behaviour, Call, Sandbox
from service.telnyx.callback import read_time
from tests.sandbox.conftest import CALL, App


def test_what_is_held_comes_once_it_is_released_and_in_its_order(app: App, sandbox: Sandbox) -> None:
    sandbox.hold()
    sid = app.start().json()["sid"]
    app.stop(sid)
    assert not sandbox.wait_until_idle(0.3)
    assert app.receiver.events == []
    sandbox.release()
    app.receiver.wait_for(2)
    assert app.receiver.events == ["siprec-started", "siprec-stopped"]


def test_what_comes_late_says_when_it_happened_and_is_signed_when_it_is_sent(
    app: App, sandbox: Sandbox
) -> None:
    sandbox.hold()
    app.start()
    assert not sandbox.wait_until_idle(1.1)
    released_at = datetime.now(UTC)
    sandbox.release()
    (late,) = app.receiver.wait_for(1)
    happened_at = read_time(late.fields["Timestamp"])
    assert happened_at is not None
    assert happened_at < released_at - timedelta(seconds=1)
    assert int(late.headers["telnyx-timestamp"]) >= int(released_at.timestamp())


def test_what_is_held_is_forgotten_with_everything_else(app: App, sandbox: Sandbox) -> None:
    sandbox.hold()
    app.start()
    sandbox.forget()
    assert not sandbox.is_holding
    app.started()
    assert app.receiver.events == ["siprec-started"]


def test_a_recording_may_break_off_while_its_call_goes_on(app: App, sandbox: Sandbox) -> None:
    app.started()
    assert [session.status for session in sandbox.break_off(CALL)] == ["stopped"]
    app.receiver.wait_for(2)
    assert app.receiver.events == ["siprec-started", "siprec-stopped"]
    assert app.get(f"/texml/Accounts/AC1/Calls/{CALL}").json()["status"] == "in-progress"


def test_a_call_of_before_can_be_known(app: App, sandbox: Sandbox) -> None:
    ended_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    sandbox.remember(Call("v3:old", began_at=ended_at - timedelta(minutes=1), ended_at=ended_at))
    shown = app.get("/texml/Accounts/AC1/Calls/v3:old").json()
    assert (shown["status"], read_time(shown["end_time"])) == ("completed", ended_at)
    assert sandbox.behaviour() == Behaviour()
