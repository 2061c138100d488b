"""Two accounts, each with keys of its own, from the app's request to the callback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import requests
from nacl.signing import SigningKey

from service.config import WrongConfiguration
from service.sandbox import EVENTS, Account, Behaviour, Sandbox
from tests.bed import processes
from tests.house import House, wait_until
from tests.web.indoors import FORM, Indoors

ONE, TWO, THREE = (
    "61bf923e-5e4d-4595-a110-56190ea18a1b",
    "0b2ff5b0-8a6b-4d0c-9d0c-3c1c2a4f8d11",
    "7a7d3e1c-2f44-4a53-8d2e-5d6e1c0b9a22",
)
ACCOUNTS = {ONE: Account("KEY_ONE", b"\1" * 32), TWO: Account("KEY_TWO", b"\2" * 32)}
API_KEYS = f"{ONE}=KEY_ONE,{TWO}=KEY_TWO"
REASON = "the signature fits no key that vouches for this account's callbacks"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(port=0, accounts=ACCOUNTS) as running:
        yield running


def public_keys(sandbox: Sandbox, *accounts: str) -> str:
    return ",".join(f"{account}={sandbox.public_key_of(account)}" for account in accounts)


def rejected(house: House) -> list[str]:
    """Why, newest first."""
    lines = processes.run_ledger(house.web.env, "callbacks", "rejected").splitlines()
    return [json.loads(line)["reason"] for line in lines]


def test_each_account_starts_stops_and_calls_back_with_its_own_keys(
    build: Callable[..., House], sandbox: Sandbox
) -> None:
    house = build(
        TELNYX_API_KEY=API_KEYS, TELNYX_PUBLIC_KEY=public_keys(sandbox, ONE, TWO), TELNYX_ACCOUNT_SID=ONE
    )
    ids = {ONE: house.start("v3:one").json()["id"]}
    ids[TWO] = house.start("v3:two", account_sid=TWO).json()["id"]
    for account, session_id in ids.items():
        assert house.wait_for(session_id, "started")["account_sid"] == account
        assert house.post(f"/v1/sessions/{session_id}/stop").status_code == 202
        house.wait_for(session_id, "stopped")
    proofs = [{one["verified_by"] for one in house.callbacks(session_id)} for session_id in ids.values()]
    assert all(len(proof) == 1 for proof in proofs)
    assert proofs[0] != proofs[1]
    used = {(one.path.split("/")[4], one.headers["authorization"]) for one in sandbox.requests}
    assert used == {(ONE, "Bearer KEY_ONE"), (TWO, "Bearer KEY_TWO")}
    assert rejected(house) == []


def test_one_accounts_key_tells_nothing_of_another_and_what_it_told_is_judged_again_by_the_same_rule(
    build: Callable[..., House], sandbox: Sandbox
) -> None:
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    house = build(
        TELNYX_API_KEY=API_KEYS, TELNYX_PUBLIC_KEY=public_keys(sandbox, ONE, TWO), TELNYX_ACCOUNT_SID=ONE
    )
    session = house.start("v3:two", account_sid=TWO).json()
    house.web.stop()
    house.web.env["TELNYX_PUBLIC_KEY"] = public_keys(sandbox, ONE)
    house.web.start()
    body = sandbox.compose(session["siprec_sid"], "siprec-failed")
    keys = [SigningKey(ACCOUNTS[ONE].signing_seed), SigningKey(ACCOUNTS[TWO].signing_seed)]
    for key in keys:
        headers = {**sandbox.sign(body, key=key), "Content-Type": FORM}
        assert (
            requests.post(house.callback_url("v3:two"), body, headers=headers, timeout=10).status_code == 403
        )
    wait_until(lambda: house.get("/readyz").json()["rejected"] == 2)
    assert rejected(house) == [REASON, REASON]

    def retry() -> str:
        return processes.run_ledger(house.web.env, "callbacks", "retry")

    assert retry() == "stored: 0, still rejected: 2, refused by the database: 0"
    house.web.env["TELNYX_PUBLIC_KEY"] = public_keys(sandbox, ONE, TWO)
    assert retry() == "stored: 1, still rejected: 1, refused by the database: 0"
    assert house.session(session["id"])["state"] == "failed"
    assert [one["deliveries"] for one in house.callbacks(session["id"])] == [1]


@pytest.fixture
def keyed(furnish: Callable[..., Indoors]) -> Indoors:
    return furnish(TELNYX_API_KEY=API_KEYS, TELNYX_ACCOUNT_SID=ONE)


def test_a_start_for_an_account_without_a_key_does_nothing(keyed: Indoors) -> None:
    answer = keyed.start(account_sid=THREE, key="again-1")
    assert (answer.status_code, answer.json["type"]) == (422, "urn:siprec-ledger:problem:account-without-key")
    assert "TELNYX_API_KEY" in answer.json["detail"]
    assert keyed.client.get("/v1/sessions").json["sessions"] == []
    assert keyed.sandbox.requests == []
    assert (
        keyed.start(account_sid=TWO, key="again-1").status_code == 201
    )  # the Idempotency-Key is not used up


def test_a_start_whose_callbacks_could_not_be_proven_does_nothing(
    furnish: Callable[..., Indoors], sandbox: Sandbox
) -> None:
    of_one = public_keys(sandbox, ONE)
    keyed = furnish(TELNYX_API_KEY=API_KEYS, TELNYX_PUBLIC_KEY=of_one, TELNYX_ACCOUNT_SID=ONE)
    answer = keyed.start(account_sid=TWO)
    assert (answer.status_code, answer.json["type"]) == (422, "urn:siprec-ledger:problem:account-without-key")
    assert "TELNYX_PUBLIC_KEY" in answer.json["detail"]
    assert keyed.sandbox.requests == []
    assert keyed.start(account_sid=ONE).status_code == 201


def test_the_usual_account_needs_a_key_that_proves_its_callbacks(
    furnish: Callable[..., Indoors], sandbox: Sandbox
) -> None:
    of_one = public_keys(sandbox, ONE)
    with pytest.raises(WrongConfiguration, match="TELNYX_PUBLIC_KEY"):
        furnish(TELNYX_API_KEY=API_KEYS, TELNYX_PUBLIC_KEY=of_one, TELNYX_ACCOUNT_SID=TWO)


def test_a_stop_for_an_account_without_a_key_does_nothing(keyed: Indoors) -> None:
    """A TeXML document started it, and its callbacks came here."""
    body = f"AccountSid={THREE}&CallSid=v3%3Athree&SiprecSid=sid-3&SiprecEvent=siprec-started".encode()
    signed = keyed.sandbox.sign(body)
    assert keyed.stranger.post("/callbacks/siprec", data=body, headers=signed).status_code == 200
    (listed,) = keyed.client.get("/v1/sessions", query_string={"account_sid": THREE}).json["sessions"]
    before = keyed.session(listed["id"])
    answer = keyed.client.post(f"/v1/sessions/{listed['id']}/stop")
    assert (answer.status_code, answer.json["type"]) == (422, "urn:siprec-ledger:problem:account-without-key")
    assert keyed.session(listed["id"]) == before
    assert before["stop_requested_at"] is None
    assert keyed.sandbox.requests == []


def test_an_account_whose_own_key_proves_its_callbacks_has_none_by_get(
    furnish: Callable[..., Indoors], sandbox: Sandbox
) -> None:
    """They would all be rejected."""
    keys = f"{sandbox.public_key},{public_keys(sandbox, TWO)}"
    indoors = furnish(TELNYX_PUBLIC_KEY=keys, TELNYX_API_KEY=API_KEYS, TELNYX_ACCOUNT_SID=ONE)
    answer = indoors.start(account_sid=TWO, status_callback_method="GET")
    assert (answer.status_code, answer.json["type"]) == (422, "urn:siprec-ledger:problem:invalid-request")
    (wrong,) = answer.json["errors"]
    assert (wrong["in"], wrong["pointer"]) == ("body", "/status_callback_method")
    assert indoors.sandbox.requests == []
    assert indoors.client.get("/v1/sessions").json["sessions"] == []
    assert indoors.start(account_sid=TWO).status_code == 201
    assert indoors.start("v3:call-2", account_sid=ONE, status_callback_method="GET").status_code == 201


def test_an_earlier_start_is_answered_though_its_account_has_lost_its_key(
    keyed: Indoors, furnish: Callable[..., Indoors]
) -> None:
    before = keyed.start(account_sid=TWO, key="again-1").json
    later = furnish(TELNYX_API_KEY=f"{ONE}=KEY_ONE", TELNYX_ACCOUNT_SID=ONE)
    later.client.environ_base["HTTP_AUTHORIZATION"] = keyed.client.environ_base["HTTP_AUTHORIZATION"]
    after = later.start(account_sid=TWO, key="again-1")
    assert (after.status_code, after.json["id"]) == (201, before["id"])
    assert after.headers["Idempotency-Replayed"] == "true"
