"""What is asked of Telnyx before anything is started: keys, connectors, its clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.sandbox import Answer, Behaviour, Sandbox
from service.sandbox.signature import Account
from service.telnyx.inquiry import Inquiry, NoReply


def inquiry(sandbox: Sandbox, seconds: float = 10) -> Inquiry:
    return Inquiry(sandbox.url, seconds)


def test_a_key_that_counts_is_not_answered_401(sandbox: Sandbox) -> None:
    asked = inquiry(sandbox)
    assert asked.try_key(sandbox.api_key).status == 200  # the sandbox knows every connector
    assert asked.try_key(sandbox.api_key, "account-1").status == 200
    assert asked.try_key("KEY_OF_NOBODY").status == 401
    assert asked.try_key("KEY_OF_NOBODY", "account-1").status == 401
    assert {request.method for request in sandbox.requests} == {"GET"}


def test_a_key_of_an_account_is_tried_for_that_account() -> None:
    with Sandbox(accounts={"account-7": Account("KEY_SEVEN", b"7" * 32)}) as sandbox:
        assert inquiry(sandbox).try_key("KEY_SEVEN", "account-7").status == 200
        assert inquiry(sandbox).try_key("KEY_SEVEN", "account-1").status == 401


def test_a_connector_is_told_with_its_port(sandbox: Sandbox) -> None:
    reply = inquiry(sandbox).connector(sandbox.api_key, "my recorder/1")
    assert reply.document["data"]["name"] == "my recorder/1"
    assert reply.document["data"]["port"] == 5060
    sandbox.behave(Behaviour(known_connectors=frozenset()))
    assert inquiry(sandbox).connector(sandbox.api_key, "my recorder/1").status == 404


def test_its_clock_comes_along(sandbox: Sandbox) -> None:
    reply = inquiry(sandbox).try_key(sandbox.api_key)
    assert reply.date is not None
    assert abs(reply.date - datetime.now(UTC)) < timedelta(minutes=1)
    assert reply.sent <= reply.received


@pytest.mark.parametrize("answer", [Answer("close"), Answer("reset"), Answer("timeout")])
def test_no_answer_says_why_and_shows_no_key(sandbox: Sandbox, answer: Answer) -> None:
    sandbox.behave(Behaviour(connector_answer=answer))
    with pytest.raises(NoReply) as raised:
        inquiry(sandbox, 0.2).connector(sandbox.api_key, "recorder")
    assert sandbox.api_key not in str(raised.value)
    assert len(sandbox.requests) == 1  # once


def test_what_is_no_json_is_no_document(sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(connector_answer=Answer("unreadable")))
    reply = inquiry(sandbox).connector(sandbox.api_key, "recorder")
    assert (reply.status, reply.document) == (200, None)
