"""The URL that Telnyx calls back to: only we can make one, and a rotated secret still reads it."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itsdangerous import Signer

from service.siprec import new_id
from service.telnyx.address import Addresses

OLD, NEW = "an old secret of enough characters", "a new secret of enough characters."
PUBLIC_URL = "https://ledger.example.com/base"
SESSION_ID = "0195f7a0-1111-7222-8333-444455556666"


def token(addresses: Addresses, session_id: str = SESSION_ID) -> str:
    return addresses.of(session_id).rpartition("/")[2]


def test_the_url_holds_the_session_and_needs_no_escaping() -> None:
    addresses = Addresses(PUBLIC_URL, [NEW])
    url = addresses.of(SESSION_ID)
    assert url.startswith(f"{PUBLIC_URL}/callbacks/siprec/")
    assert quote(token(addresses), safe="") == token(addresses)
    assert addresses.session_id(token(addresses)) == SESSION_ID


def test_tokens_of_an_earlier_secret_are_read_after_it_was_rotated() -> None:
    old, rotated = Addresses(PUBLIC_URL, [OLD]), Addresses(PUBLIC_URL, [NEW, OLD])
    assert rotated.session_id(token(old)) == SESSION_ID
    assert rotated.session_id(token(rotated)) == SESSION_ID


def test_the_first_secret_signs() -> None:
    rotated = Addresses(PUBLIC_URL, [NEW, OLD])
    assert token(rotated) == token(Addresses(PUBLIC_URL, [NEW]))
    assert Addresses(PUBLIC_URL, [OLD]).session_id(token(rotated)) is None


def test_a_forgotten_secret_reads_nothing() -> None:
    assert Addresses(PUBLIC_URL, [NEW]).session_id(token(Addresses(PUBLIC_URL, [OLD]))) is None


def test_the_same_secret_signs_other_things_otherwise() -> None:
    assert Addresses(PUBLIC_URL, [NEW]).session_id(Signer(NEW).sign(SESSION_ID).decode()) is None


@pytest.mark.parametrize(
    "forge", [lambda t: t[:-1], lambda t: t + "A", lambda t: t.replace("5", "6", 1), str.upper]
)
def test_a_token_that_was_tampered_with_names_nobody(forge: object) -> None:
    assert callable(forge)
    addresses = Addresses(PUBLIC_URL, [NEW])
    assert addresses.session_id(forge(token(addresses))) is None


def test_a_signature_fits_one_session_only() -> None:
    addresses = Addresses(PUBLIC_URL, [NEW])
    signature = token(addresses).rpartition(".")[2]
    assert addresses.session_id(f"{new_id()}.{signature}") is None


@settings(deadline=None)
@given(st.text(st.characters()) | st.from_regex(r"\A[\w-]+\.[\w-]+\Z"))  # lone surrogates and NUL too
def test_any_text_can_be_asked_for(text: str) -> None:
    assert Addresses(PUBLIC_URL, [NEW, OLD]).session_id(text) is None
