"""`siprec-ledger alert test` says what came back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from service import cli
from tests.webhooks.receiver import SECRET, AlertReceiver


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    one = AlertReceiver()
    yield one
    one.close()


def run(monkeypatch: pytest.MonkeyPatch, **settings: str) -> Result:
    usual = {
        "PUBLIC_URL": "https://ledger.example",
        "SECRET_KEY": "a secret that is long enough for a test",
        "TELNYX_API_KEY": "KEY0123",
        "TELNYX_PUBLIC_KEY": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
        "DATABASE_URL": "sqlite:////nowhere/ledger.sqlite3",  # it is not needed
        "SPOOL": "off",
    }
    for name, text in (usual | settings).items():
        monkeypatch.setenv(name, text)
    return CliRunner().invoke(cli.main, ["alert", "test"])


def test_it_sends_one_and_shows_the_answer(receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, ALERT_WEBHOOK_URL=receiver.url, ALERT_WEBHOOK_SECRET=SECRET)
    assert (result.exit_code, result.output) == (0, "taken: 200 thanks\n")
    (one,) = receiver.received
    assert one.verified()["type"] == "alert.test"
    assert one.verified()["data"]["link"] == "https://ledger.example/"


def test_what_is_not_taken_is_an_error_that_shows_no_secret(
    receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.status, receiver.answer = 403, b"who are you?"
    result = run(monkeypatch, ALERT_WEBHOOK_URL=receiver.url, ALERT_WEBHOOK_SECRET=SECRET)
    assert (result.exit_code, result.output) == (1, "Error: it was not taken: 403 who are you?\n")


def test_without_a_receiver_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch)
    assert result.exit_code == 1
    assert "ALERT_WEBHOOK_URL is not set" in result.output
