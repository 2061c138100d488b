"""The URL that Telnyx calls back to: only we can make one, and a rotated secret still reads it."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itsdangerous import Signer

from service.domain.ids import new_id
from service.telnyx.callback_url import CallbackUrls

OLD, NEW = "an old secret of enough characters", "a new secret of enough characters."
PUBLIC_URL = "https://ledger.example.com/base"
SESSION_ID = "0195f7a0-1111-7222-8333-444455556666"


def token(callback_urls: CallbackUrls, session_id: str = SESSION_ID) -> str:
    return callback_urls.of(session_id).rpartition("/")[2]


def test_the_url_holds_the_session_and_needs_no_escaping() -> None:
    callback_urls = CallbackUrls(PUBLIC_URL, [NEW])
    url = callback_urls.of(SESSION_ID)
    assert url.startswith(f"{PUBLIC_URL}/callbacks/siprec/")
    assert quote(token(callback_urls), safe="") == token(callback_urls)
    assert callback_urls.session_id(token(callback_urls)) == SESSION_ID


def test_tokens_of_an_earlier_secret_are_read_after_it_was_rotated() -> None:
    old, rotated = CallbackUrls(PUBLIC_URL, [OLD]), CallbackUrls(PUBLIC_URL, [NEW, OLD])
    assert rotated.session_id(token(old)) == SESSION_ID
    assert rotated.session_id(token(rotated)) == SESSION_ID


def test_the_first_secret_signs() -> None:
    rotated = CallbackUrls(PUBLIC_URL, [NEW, OLD])
    assert token(rotated) == token(CallbackUrls(PUBLIC_URL, [NEW]))
    assert CallbackUrls(PUBLIC_URL, [OLD]).session_id(token(rotated)) is None


def test_a_forgotten_secret_reads_nothing() -> None:
    assert CallbackUrls(PUBLIC_URL, [NEW]).session_id(token(CallbackUrls(PUBLIC_URL, [OLD]))) is None


def test_the_same_secret_signs_other_things_otherwise() -> None:
    assert CallbackUrls(PUBLIC_URL, [NEW]).session_id(Signer(NEW).sign(SESSION_ID).decode()) is None


@pytest.mark.parametrize(
    "forge", [lambda t: t[:-1], lambda t: t + "A", lambda t: t.replace("5", "6", 1), str.upper]
)
def test_a_token_that_was_tampered_with_names_nobody(forge: object) -> None:
    assert callable(forge)
    callback_urls = CallbackUrls(PUBLIC_URL, [NEW])
    assert callback_urls.session_id(forge(token(callback_urls))) is None


def test_a_signature_fits_one_session_only() -> None:
    callback_urls = CallbackUrls(PUBLIC_URL, [NEW])
    signature = token(callback_urls).rpartition(".")[2]
    assert callback_urls.session_id(f"{new_id()}.{signature}") is None


@settings(deadline=None)
@given(st.text(st.characters()) | st.from_regex(r"\A[\w-]+\.[\w-]+\Z"))  # lone surrogates and NUL too
def test_any_text_can_be_asked_for(text: str) -> None:
    assert CallbackUrls(PUBLIC_URL, [NEW, OLD]).session_id(text) is None
