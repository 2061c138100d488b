"""The official Telnyx client must not notice that it talks to a sandbox."""

from collections.abc import Iterator

import pytest
import telnyx
from telnyx.lib.webhook_verification import WebhookVerificationError, verify_webhook_signature

from service.sandbox import Answer, Behaviour, Sandbox
from tests.sandbox.receiver import Receiver

CALL = "v3:9X2vqj"


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[telnyx.Telnyx]:
    with telnyx.Telnyx(
        api_key=sandbox.api_key, base_url=sandbox.url, public_key=sandbox.public_key
    ) as client:
        yield client


def test_it_starts_and_stops_a_session(sandbox: Sandbox, client: telnyx.Telnyx, receiver: Receiver) -> None:
    started = client.texml.accounts.calls.siprec_json(
        CALL,
        account_sid="AC1",
        connector_name="srs",
        secure=True,
        session_timeout_secs=90,
        status_callback=receiver.url,
        status_callback_method="POST",
        track="inbound_track",
    )
    assert started.sid
    stopped = client.texml.accounts.calls.siprec.siprec_sid_json(
        started.sid, account_sid="AC1", call_sid=CALL, status="stopped"
    )
    assert sandbox.wait_until_idle(5)
    assert (started.status, started.track, stopped.status) == ("in-progress", "inbound_track", "in-progress")
    assert (stopped.account_sid, stopped.call_sid, stopped.sid) == ("AC1", CALL, started.sid)
    assert receiver.events == ["siprec-started", "siprec-stopped"]
    assert sandbox.requests[0].fields["SessionTimeoutSecs"] == "90"
    assert sandbox.requests[0].fields["Secure"] == "true"


def test_it_fetches_a_call_and_a_connector(client: telnyx.Telnyx) -> None:
    call = client.texml.accounts.calls.retrieve(CALL, account_sid="AC1")
    connector = client.siprec_connectors.retrieve("srs")
    assert (call.sid, call.status) == (CALL, "in-progress")
    assert connector.data.name == "srs"


def test_it_accepts_the_signature_of_a_callback(
    sandbox: Sandbox, client: telnyx.Telnyx, receiver: Receiver
) -> None:
    client.texml.accounts.calls.siprec_json(CALL, account_sid="AC1", status_callback=receiver.url)
    (callback,) = receiver.wait_for(1)
    verify_webhook_signature(callback.body, callback.headers, sandbox.public_key)


@pytest.mark.parametrize(
    "behaviour",
    [Behaviour(forge=True), Behaviour(unsigned=True), Behaviour(clock_skew_seconds=-400)],
    ids=["forged", "unsigned", "stale"],
)
def test_it_refuses_a_signature_that_was_meant_to_be_bad(
    sandbox: Sandbox, receiver: Receiver, behaviour: Behaviour
) -> None:
    sandbox.behave(behaviour)
    sandbox.begin("AC1", CALL, receiver.url)
    (callback,) = receiver.wait_for(1)
    with pytest.raises(WebhookVerificationError):
        verify_webhook_signature(callback.body, callback.headers, sandbox.public_key)


def test_it_repeats_a_start_by_itself_and_the_repeat_is_marked(
    sandbox: Sandbox, client: telnyx.Telnyx
) -> None:
    sandbox.behave(Behaviour(answer=Answer.error(429, times=1, retry_after_seconds=0)))
    assert client.texml.accounts.calls.siprec_json(CALL, account_sid="AC1").sid
    assert [each.headers["x-stainless-retry-count"] for each in sandbox.requests] == ["0", "1"]


def test_it_understands_a_refusal(sandbox: Sandbox, client: telnyx.Telnyx) -> None:
    with pytest.raises(telnyx.NotFoundError):
        client.texml.accounts.calls.siprec.siprec_sid_json("none", account_sid="AC1", call_sid=CALL)
    with (
        telnyx.Telnyx(api_key="wrong", base_url=sandbox.url) as stranger,
        pytest.raises(telnyx.AuthenticationError),
    ):
        stranger.siprec_connectors.retrieve("srs")
