"""Keys that belong to an account: what is asked of Telnyx with which, and what which vouches for."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from service.domain.callback import Delivery
from service.domain.notice import ErrorKind, NoticeKind
from service.domain.start import CallbackMethod, Order
from service.sandbox import Account, Sandbox
from service.telnyx import signature
from service.telnyx.callback import Reader, RejectedCallback, RejectionReason
from service.telnyx.callback_form import FIELDS_LOOKED_AT, Form, account_sid_of
from service.telnyx.callback_url import CallbackUrls
from service.telnyx.client import Client

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SESSION_ID = "0195f7a0-1111-7222-8333-444455556666"
MINE, OTHER, THIRD = (
    "61bf923e-5e4d-4595-a110-56190ea18a1b",
    "0b2ff5b0-8a6b-4d0c-9d0c-3c1c2a4f8d11",
    "7a7d3e1c-2f44-4a53-8d2e-5d6e1c0b9a22",
)
SIGNER = Sandbox()
URLS = CallbackUrls("https://ledger.example.com", ["a secret that is long enough for a test"])
FOR_ALL, OF_MINE, OF_OTHER = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()
REJECTED = RejectionReason.NOT_ITS_ACCOUNTS


def shown(key: SigningKey) -> str:
    return b64encode(bytes(key.verify_key)).decode()


def reader(*for_all: SigningKey, must_be_signed: bool = True) -> Reader:
    own = {MINE: [shown(OF_MINE)], OTHER: [shown(OF_OTHER)]}
    return Reader([shown(key) for key in for_all], URLS, must_be_signed=must_be_signed, account_keys=own)


def body(account_sid: str | None, **more: str) -> bytes:
    fields = {"CallSid": "v3:call-1", "SiprecSid": "sid-1", "SiprecEvent": "siprec-started", **more}
    return urlencode(({} if account_sid is None else {"AccountSid": account_sid}) | fields).encode()


def judge(by: Reader, key: SigningKey, signed: bytes, method: str = "POST") -> RejectionReason | NoticeKind:
    token = URLS.of(SESSION_ID, CallbackMethod(method)).rpartition("/")[2]
    query, sent = (signed, b"") if method == "GET" else (b"", signed)
    came = Delivery("delivery-1", NOW, method, token, query, SIGNER.sign(sent, NOW, key), sent)
    try:
        return by.read(came).notice.kind
    except RejectedCallback as rejection:
        return rejection.reason


@pytest.mark.parametrize(
    ("key", "account_sid", "expected"),
    [
        (OF_MINE, MINE, NoticeKind.STARTED),
        (OF_OTHER, OTHER, NoticeKind.STARTED),
        (OF_MINE, OTHER, REJECTED),
        (OF_OTHER, MINE, REJECTED),
        (OF_MINE, THIRD, REJECTED),
        (OF_MINE, MINE.upper(), REJECTED),
        (OF_MINE, f"{MINE} ", REJECTED),
        (OF_MINE, "", REJECTED),
        (OF_MINE, None, REJECTED),
        (FOR_ALL, MINE, NoticeKind.STARTED),  # what vouches for all does for those with a key of their own
        (FOR_ALL, THIRD, NoticeKind.STARTED),
        (FOR_ALL, None, NoticeKind.STARTED),
        (SigningKey.generate(), MINE, REJECTED),
        (SigningKey.generate(), THIRD, REJECTED),
    ],
)
@pytest.mark.parametrize("must_be_signed", [True, False])
def test_a_key_vouches_for_its_account_alone(
    key: SigningKey, account_sid: str | None, expected: object, must_be_signed: bool
) -> None:
    assert judge(reader(FOR_ALL, must_be_signed=must_be_signed), key, body(account_sid)) is expected


@pytest.mark.parametrize("must_be_signed", [True, False])
def test_without_a_key_for_all_nothing_else_is_vouched_for(must_be_signed: bool) -> None:
    by = reader(must_be_signed=must_be_signed)
    assert judge(by, OF_MINE, body(MINE)) is NoticeKind.STARTED
    assert judge(by, OF_MINE, body(OTHER)) is REJECTED
    assert judge(by, FOR_ALL, body(MINE)) is REJECTED


@pytest.mark.parametrize("must_be_signed", [True, False])
def test_a_key_of_an_account_vouches_for_no_get(must_be_signed: bool) -> None:
    """What names the account there is not signed."""
    by = reader(FOR_ALL, must_be_signed=must_be_signed)
    assert judge(by, OF_MINE, body(MINE), "GET") is REJECTED
    assert judge(by, FOR_ALL, body(MINE), "GET") is NoticeKind.STARTED


def test_whose_key_signed_is_said_by_its_fingerprint() -> None:
    came = Delivery("delivery-1", NOW, "POST", None, b"", SIGNER.sign(body(MINE), NOW, OF_MINE), body(MINE))
    assert reader(FOR_ALL).read(came).verified_by == signature.PublicKey.read(shown(OF_MINE)).name


def test_of_several_accounts_in_a_body_the_first_counts() -> None:
    by, rest = reader(FOR_ALL), b"&SiprecEvent=siprec-started"
    mine, other = f"AccountSid={MINE}".encode(), f"AccountSid={OTHER}".encode()
    hidden = b"%41ccount%53id=" + OTHER.encode()
    assert judge(by, OF_MINE, mine + b"&" + other + rest) is NoticeKind.STARTED
    assert judge(by, OF_MINE, other + b"&" + mine + rest) is REJECTED
    assert judge(by, OF_MINE, hidden + b"&" + mine + rest) is REJECTED
    assert judge(by, OF_MINE, b"AccountSid&" + mine + rest) is REJECTED
    assert judge(by, OF_MINE, b"&&" + mine + rest) is NoticeKind.STARTED
    assert judge(by, OF_MINE, mine.replace(b"-", b"%2D") + rest) is NoticeKind.STARTED
    assert judge(by, OF_MINE, b'{"AccountSid": "%b"}' % MINE.encode()) is REJECTED


PARTS = st.sampled_from(
    [
        *(b"AccountSid", b"%41ccountSid", b"Account%53id=b", b"AccountSid=a", b"AccountSid=%61"),
        *(b"Account+Sid=a", b"AccountSid=a+b", b"AccountSid=%00", b"AccountSid=%ff", b"AccountSid=a=b"),
        *(b"%41%63%63%6F%75%6E%74%53%69%64=d", b"AccountSid==", b"CallSid=v3%3A", b"%=%", b"=", b""),
    ]
)


@given(st.lists(PARTS | st.binary(max_size=40)))
def test_what_is_looked_at_beforehand_is_what_the_form_says(parts: list[bytes]) -> None:
    source = b"&".join(parts)
    found = account_sid_of(source)
    if source.count(b"&") < FIELDS_LOOKED_AT:
        assert found == Form(source, b"").get("AccountSid")
    assert found in {None, Form(source, b"").get("AccountSid")}


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The keys that signatures are checked with."""
    checked: list[object] = []
    fits = signature._fits

    def counted(key: object, *others: object) -> bool:
        checked.append(key)
        return fits(key, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(signature, "_fits", counted)
    return checked


def test_a_forgery_costs_no_more_checks_with_a_thousand_accounts(checks: list[object]) -> None:
    own: Mapping[str, list[str]] = {f"account-{number}": [shown(OF_OTHER)] for number in range(1000)}
    by = Reader([shown(FOR_ALL)], URLS, must_be_signed=True, account_keys={**own, MINE: [shown(OF_MINE)]})
    stranger = SigningKey.generate()
    for account_sid, count in ((MINE, 2), (THIRD, 1), (None, 1)):
        checks.clear()
        assert judge(by, stranger, body(account_sid)) is REJECTED
        assert len(checks) == count
    checks.clear()
    assert judge(by, OF_MINE, body(MINE)) is NoticeKind.STARTED
    assert len(checks) == 1


# What is asked of Telnyx


def test_each_account_is_asked_for_with_its_own_key() -> None:
    accounts = {MINE: Account("KEY_MINE", bytes(32)), OTHER: Account("KEY_OTHER", b"\1" * 32)}
    with Sandbox(api_key="KEY_ALL", accounts=accounts) as sandbox:
        by = Client(sandbox.url, "KEY_ALL", 5, lambda: NOW, {MINE: "KEY_MINE", OTHER: "wrong"})
        started = {
            sid: by.start(Order(sid, "v3:call-1"), "http://127.0.0.1:9/") for sid in (MINE, OTHER, THIRD)
        }
        mine, third = started[MINE].siprec_sid, started[THIRD].siprec_sid
        assert mine
        assert third
        refusal = started[OTHER].error
        assert refusal
        assert refusal.kind is ErrorKind.CREDENTIALS
        assert by.stop(MINE, "v3:call-1", mine) is None
        assert by.stop(THIRD, "v3:call-1", third) is None
        used = [(one.path.split("/")[4], one.headers["authorization"]) for one in sandbox.requests]
    assert used == [
        (MINE, "Bearer KEY_MINE"),
        (OTHER, "Bearer wrong"),
        (THIRD, "Bearer KEY_ALL"),
        (MINE, "Bearer KEY_MINE"),
        (THIRD, "Bearer KEY_ALL"),
    ]


def test_it_is_known_for_which_accounts_there_is_a_key() -> None:
    own = {MINE: "KEY_MINE"}
    only_own, for_all = (Client("http://127.0.0.1:9/v2", key, 5, lambda: NOW, own) for key in (None, "KEY"))
    assert [only_own.has_key(sid) for sid in (MINE, OTHER)] == [True, False]
    assert for_all.has_key(OTHER)
